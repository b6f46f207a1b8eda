"""A card without a kernel: the reference model, behind what VFIO makes of a function."""

import os
from pathlib import Path

from cocotbext.virtio.backends.vfio_abi import CONFIG_REGION, Interrupt
from cocotbext.virtio.backends.vfio_group import Group
from cocotbext.virtio.backends.vfio_memory import Words
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng
from virtio_sim.cosim.model import ModelFunction
from virtio_spec import layout
from virtio_spec.pci import Capability, Command, ConfigOffset, MsixMessageControl
from virtio_spec.virtio_pci import Interface

ADDRESS = "0000:01:00.0"
DEVICE_CONTROL, INITIATE_FLR = 8, 1 << 15
VIRTUAL = range(ConfigOffset.BAR0, ConfigOffset.BAR0 + 24)


KINDS = {
    "rng": lambda: Rng(EntropySource(3)),
    "blk": lambda: Blk(Disk(64)),
    "blk read-only": lambda: Blk(Disk(64), read_only=True),
    "blk queues": lambda: Blk(Disk(64), queues=2),
}


class ModelCard:
    """As :class:`~cocotbext.virtio.backends.vfio_card.Card`.

    It keeps for itself what the kernel keeps, and works after each access until there is nothing to do.
    """

    def __init__(self, address, interface=Interface.MODERN, *, iommu=True, kind="rng"):
        assert address == ADDRESS
        self.group = Group(address, 7, Path("/dev/vfio/7"), iommu)
        self._function = ModelFunction(lambda dma: ReferenceDevice(KINDS[kind](), dma, interface=interface))
        self.regions = dict(self._function.regions)
        self._place_bars()
        self._msix, self._express = map(self._capability, (Capability.MSIX, Capability.PCI_EXPRESS))
        self.vectors = (self._function.config_read(self._msix + 2, 2) & 0x7FF) + 1
        self.has_intx = True
        self._files = {Interrupt.MSIX: {}, Interrupt.INTX: {}}
        self._level = False
        self.closed = False

    def _capability(self, identity):
        position = self._function.config_read(ConfigOffset.CAPABILITIES_POINTER, 1)
        while self._function.config_read(position, 1) != identity:
            position = self._function.config_read(position + 1, 1)
        return position

    def read(self, region, offset, size):
        if region == CONFIG_REGION:
            return self._function.config_read(offset, size)
        self._accessible(region)
        value = self._function.bar_read(region, offset, size)
        self._work()
        return value

    def write(self, region, offset, size, value):
        if region == CONFIG_REGION:
            if offset == self._express + DEVICE_CONTROL and value & INITIATE_FLR:
                self._reset(value)
            elif offset not in VIRTUAL and not self._msix <= offset < self._msix + 12:
                self._function.config_write(offset, size, value)
        else:
            self._accessible(region)
            assert region != layout.MSIX_BAR or offset >= 16 * self.vectors, "the kernel has the table"
            self._function.bar_write(region, offset, size, value)
        self._work()

    def _reset(self, control):
        """A function level reset; what the kernel restores afterwards."""
        command = self._function.config_read(ConfigOffset.COMMAND, 2)
        self._function.config_write(self._express + DEVICE_CONTROL, 2, control)
        self._function.config_write(ConfigOffset.COMMAND, 2, command)
        self._place_bars()
        if self._files[Interrupt.MSIX]:
            self._fill_table()

    def _place_bars(self):
        for bar in sorted(set(self.regions) - {CONFIG_REGION}):
            self._function.config_write(ConfigOffset.BAR0 + 4 * bar, 4, 0x1000_0000 + (bar << 20))

    def _fill_table(self):
        self._function.config_write(self._msix + 2, 2, MsixMessageControl.ENABLE)
        for vector in range(self.vectors):
            words = (0xFEE0_1000, 0, vector, int(vector not in self._files[Interrupt.MSIX]))
            for n, word in enumerate(words):
                self._function.bar_write(layout.MSIX_BAR, 16 * vector + 4 * n, 4, word)

    def _accessible(self, region):
        """Accesses to a function that does not decode them are refused by the kernel."""
        command = self._function.config_read(ConfigOffset.COMMAND, 2)
        if not command & (Command.IO_SPACE if self.regions[region].io else Command.MEMORY_SPACE):
            raise OSError("Input/output error")

    def _work(self):
        while self._function.work(1000):
            pass
        for _, data in self._function.interrupts():
            os.eventfd_write(self._files[Interrupt.MSIX][data], 1)
        level, self._level = self._level, self._function.intx()
        if self._level and not level and (file := self._files[Interrupt.INTX].get(0)) is not None:
            os.eventfd_write(file, 1)

    def map(self, address, iova, size):
        assert self.group.iommu
        self.reach(iova, Words(address, size))

    def reach(self, address, words):
        """Let it find memory at an address."""
        self._function.map(address, words, 3)

    def signal(self, index, files, *, start=0):
        for number, file in enumerate(files, start):
            self._files[index].pop(number, None)
            if file >= 0:
                self._files[index][number] = file
        if index == Interrupt.MSIX:
            self._fill_table()
            self._work()

    def silence(self, index):
        self._files[index].clear()
        if index == Interrupt.MSIX:
            self._function.config_write(self._msix + 2, 2, 0)
            self._work()

    def unmask(self, index):
        self._level = False
        self._work()

    def close(self):
        self.closed = True
