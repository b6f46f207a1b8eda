"""A card through the kernel's files: regions, memory for it, interrupts."""

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from . import vfio_abi as abi
from .vfio_abi import Action, Interrupt, Ioctl
from .vfio_group import Group, VfioError, find_group

__all__ = ["Card"]

CONTAINER = Path("dev/vfio/vfio")


class Card:
    """The PCI function at ``address``, bound to vfio-pci and open; :class:`~.vfio_group.VfioError`.

    The kernel resets it when it is opened and when it is closed, as well as it can be reset.

    Attributes
    ----------
    group
        Its group; whether there is an IOMMU in front of it.
    regions
        BARs by their number, and configuration space as :data:`~.vfio_abi.CONFIG_REGION`, those that there
        are.
    vectors
        Entries of its MSI-X table.
    has_intx
        Whether it has an interrupt pin.
    """

    def __init__(self, address: str, root: Path = Path("/")):
        self.group = find_group(address, root)
        self._files: list[int] = []
        try:
            self._container = self._open(root / CONTAINER)
            if fcntl.ioctl(self._container, Ioctl.GET_API_VERSION) != abi.API_VERSION:
                raise VfioError("this kernel's VFIO has another interface than the one of version 0")
            self._group = self._open(self.group.path)
            self._device = self._device_of(self.group, root)
            self._files.append(self._device)
            self.regions = {
                index: region
                for index in range(abi.CONFIG_REGION + 1)
                if (region := self._region(index)).size
            }
            self.vectors = self._interrupts(Interrupt.MSIX)
            self.has_intx = self._interrupts(Interrupt.INTX) > 0
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> int:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise VfioError(f"there is no {path}; load the module vfio-pci (modprobe vfio-pci)") from None
        except PermissionError as error:
            if error.errno == errno.EPERM:  # the file may be opened, but a device without IOMMU may not
                raise VfioError(f"{path} is for root: without an IOMMU a card reaches all memory") from None
            raise VfioError(f"you may not open {path}; run this as root, or chown {path} to you") from None
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise VfioError(f"somebody else has {path} open; end that program first") from None
        self._files.append(file)
        return file

    def _device_of(self, group: Group, root: Path) -> int:
        status = abi.group_status()
        fcntl.ioctl(self._group, Ioctl.GROUP_GET_STATUS, status)
        if not abi.GROUP_STATUS.unpack(status)[1] & abi.GroupStatus.VIABLE:
            others = ", ".join(f"{name} ({driver})" for name, driver in group.others(root)) or "the others"
            raise VfioError(
                f"{group.address} is not alone in IOMMU group {group.number}: unbind {others}, or bind them "
                "to vfio-pci, too"
            )
        fcntl.ioctl(self._group, Ioctl.GROUP_SET_CONTAINER, bytearray(struct.pack("=i", self._container)))
        kind = abi.IommuType.TYPE1_V2 if group.iommu else abi.IommuType.NO_IOMMU
        if not fcntl.ioctl(self._container, Ioctl.CHECK_EXTENSION, kind):
            raise VfioError("load the module vfio_iommu_type1: this kernel's VFIO cannot map memory without")
        try:
            fcntl.ioctl(self._container, Ioctl.SET_IOMMU, kind)
            return fcntl.ioctl(
                self._group, Ioctl.GROUP_GET_DEVICE_FD, bytearray(f"{group.address}\0".encode())
            )
        except OSError as error:
            raise VfioError(
                f"the kernel does not give {group.address} away: {error.strerror}; dmesg says why"
            ) from error

    def _region(self, index: int) -> abi.RegionInfo:
        asked = abi.region_info(index)
        fcntl.ioctl(self._device, Ioctl.DEVICE_GET_REGION_INFO, asked)
        return abi.RegionInfo(*abi.REGION_INFO.unpack(asked)[-2:])

    def _interrupts(self, index: Interrupt) -> int:
        asked = abi.interrupt_info(index)
        fcntl.ioctl(self._device, Ioctl.DEVICE_GET_IRQ_INFO, asked)
        return abi.IRQ_INFO.unpack(asked)[3]

    # -- registers ---------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> int:
        """Read ``size`` bytes in one access, as the kernel keeps it; ``OSError`` if the kernel refuses.

        1, 2 and 4 bytes, naturally aligned, are one access; 8 bytes are two of 4 before Linux 6.12.
        """
        return int.from_bytes(os.pread(self._device, size, self._at(region, offset, size)), "little")

    def write(self, region: int, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes in one access, as :meth:`read`."""
        os.pwrite(self._device, value.to_bytes(size, "little"), self._at(region, offset, size))

    def _at(self, region: int, offset: int, size: int) -> int:
        found = self.regions[region]
        if offset + size > found.size:
            raise ValueError(f"{size} bytes at {offset:#x} are not inside region {region} of {found.size}")
        return found.offset + offset

    # -- memory ------------------------------------------------------------------------------------

    def map(self, address: int, iova: int, size: int) -> None:
        """Let the card read and write ``size`` bytes of this process at ``iova``: whole pages."""
        wanted = abi.dma_map(abi.MapFlag.READ | abi.MapFlag.WRITE, address, iova, size)
        try:
            fcntl.ioctl(self._container, Ioctl.IOMMU_MAP_DMA, wanted)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise VfioError(
                    f"{size >> 10} KiB cannot be locked for the card; raise the limit (ulimit -l), or be root"
                ) from None
            raise VfioError(
                f"the IOMMU does not take {iova:#x} as an address for the card: {error.strerror}"
            ) from None

    # -- interrupts ----------------------------------------------------------------------------------

    def signal(self, index: Interrupt, files: Sequence[int], *, start: int = 0) -> None:
        """Have interrupts from ``start`` on counted by eventfds; one that is -1 is masked in the device."""
        data = struct.pack(f"={len(files)}i", *files)
        self._irqs(Action.DATA_EVENTFD | Action.TRIGGER, index, start=start, count=len(files), data=data)

    def silence(self, index: Interrupt) -> None:
        """Turn all interrupts of one kind off."""
        self._irqs(Action.DATA_NONE | Action.TRIGGER, index, count=0)

    def unmask(self, index: Interrupt) -> None:
        """Let one come again that the kernel masked when it came: INTx."""
        self._irqs(Action.DATA_NONE | Action.UNMASK, index)

    def _irqs(
        self, action: Action, index: Interrupt, *, start: int = 0, count: int = 1, data: bytes = b""
    ) -> None:
        wanted = abi.irq_set(action, index, start=start, count=count, data=data)
        fcntl.ioctl(self._device, Ioctl.DEVICE_SET_IRQS, wanted)

    def close(self) -> None:
        """Give the card back; its memory is unmapped, its interrupts are off, the kernel resets it."""
        while self._files:
            os.close(self._files.pop())
