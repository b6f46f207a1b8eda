"""A block device with its disk inside."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import connect, flipped

from .blk import BlkDevice
from .interface import Device
from .ram_disk import RamDisk

__all__ = ["RamBlkDevice"]


class RamBlkDevice(Device):
    """A :class:`BlkDevice` on a :class:`RamDisk`: the link is all there is to connect.

    Parameters
    ----------
    width : :class:`int`
        Of the chain streams, in bits.
    sectors : :class:`int`
        Capacity in sectors of 512 bytes.
    init : :class:`bytes`
        Content at power-up from sector 0 on; zeros behind it.
    options
        Everything else that :class:`BlkDevice` takes, but ``may_unmap``: sectors are never deallocated.
    """

    chains: Any
    config_write: Any

    def __init__(self, *, width: int, sectors: int, init: bytes = b"", **options: Any):
        self.blk = BlkDevice(width=width, may_unmap=False, **options)
        self.disk = RamDisk(width=width, sectors=sectors, init=init, requests=self.blk.requests)
        super().__init__(table=self.blk.table, width=width, backend={})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.blk = self.blk
        m.submodules.disk = self.disk
        connect(m, flipped(self.chains), self.blk.chains)
        connect(m, self.blk.storage, self.disk.storage)
        m.d.comb += [
            self.blk.features.eq(self.features),
            self.blk.driver_ok.eq(self.driver_ok),
            self.blk.legacy.eq(self.legacy),
            self.blk.config_write.eq(self.config_write),
            self.config.eq(self.blk.config),
            self.config_changed.eq(self.blk.config_changed),
        ]
        return m
