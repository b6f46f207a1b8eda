"""Block device.  [virtio 1.4 §5.2]"""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from virtio_spec.blk import ID_BYTES, SECTOR_BYTES, BlkConfig, BlkFeature
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, Feature, feature_mask
from virtio_spec.wire import field_offset

from .blk_requests import BlkRequests
from .interface import Device, DeviceTable
from .storage import COUNT, StorageSignature

__all__ = ["BlkDevice"]


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise a ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


class BlkDevice(Device):
    """Carry out block requests on a storage, several at a time, and complete them as they end.

    IN, OUT, FLUSH, GET_ID, DISCARD and WRITE_ZEROES are carried out, any other type ends with UNSUPP. IN and
    OUT end with IOERR, and nothing is stored, if their data is no multiple of 512 bytes or lies beyond the
    capacity, and OUT if the device is read-only. A request of less than 16 readable bytes ends with
    IOERR, and so does one whose readable bytes could not be read to the end; a write under way is aborted.
    The status is the chain's last writable byte, whatever the descriptors; writable bytes that
    carry no data are filled with zeros, so that all of them count as written. A chain without a
    writable byte has no room for a status: it is completed, and nothing else is done.

    The segments of a DISCARD or WRITE_ZEROES are checked and carried out one by one. The first bad one ends
    the request: with UNSUPP if a flag is set that is not defined, or ``unmap`` in a DISCARD, and with IOERR
    if it is too long or lies beyond the capacity. Data that is no whole number of segments, or more than
    ``max_clear_seg`` of them, is IOERR. A read-only device does not have these two.

    **Cache mode.** A driver that accepts CONFIG_WCE chooses it by ``writeback``, which is 1 at first, or 0
    if it has not accepted FLUSH. Without CONFIG_WCE it is whether FLUSH is accepted. In write-through mode,
    and before DRIVER_OK, which only the legacy interface lets a driver see, all writes are durable when they
    complete.  [§5.2.5.2, §5.2.5.3, §5.2.6.2] On the legacy interface FLUSH_OUT is the same as FLUSH.
    [§5.2.6.3]

    Data moves at one beat per cycle, without a pause between requests but for header and status. A reset
    waits for the operations that the storage has begun.

    Parameters
    ----------
    width : :class:`int`
        Of chain streams and storage in bits.
    read_only : :class:`bool`
        Offer RO, and refuse writes.
    block_size : :class:`int`
        ``blk_size``: optimal block in bytes, a power of two from 512 to 32768. Requests are still
        in units of 512 bytes.
    seg_max, size_max : :class:`int`
        Greatest number of data segments in a request, and bytes in one, that a driver should use.
    physical_block_exp, alignment_offset, min_io_size, opt_io_size : :class:`int`
        Topology, in blocks.
    serial : :class:`bytes`
        Answer to GET_ID, up to 20 ASCII characters.
    queues : :class:`int`
        Request queues, 1 to 256. More than one are offered as MQ. All are alike, and served in the
        order in which their chains arrive here.
    requests : :class:`int`
        Requests under way at a time, a power of two from 2 to 64.
    max_clear_sectors, max_clear_seg : :class:`int`
        ``max_discard_sectors`` and ``max_write_zeroes_sectors``, at most 2**24 - 1, and ``max_discard_seg``
        and ``max_write_zeroes_seg``, at most 256.
    may_unmap : :class:`bool`
        ``write_zeroes_may_unmap``: what the storage does about it.

    Members
    -------
    storage : :py:`Out(StorageSignature(width, requests))`
        What is behind the device. A new capacity is told as a configuration change.
    """

    chains: Any
    features: Any
    driver_ok: Any
    legacy: Any
    config: Any
    config_changed: Any
    config_write: Any
    storage: Any

    def __init__(
        self,
        *,
        width: int,
        read_only: bool = False,
        block_size: int = 512,
        seg_max: int = 126,
        size_max: int = 1 << 20,
        physical_block_exp: int = 0,
        alignment_offset: int = 0,
        min_io_size: int = 1,
        opt_io_size: int = 0,
        serial: bytes = b"",
        queues: int = 1,
        requests: int = 8,
        max_clear_sectors: int = 1 << 22,
        max_clear_seg: int = 16,
        may_unmap: bool = True,
    ):
        if block_size & (block_size - 1) or not 512 <= block_size <= 32768:
            raise ValueError(f"block_size must be a power of two from 512 to 32768, not {block_size}")
        check_range("seg_max", seg_max, 1, 32768)
        check_range("size_max", size_max, 1, 2**32 - 1)
        check_range("physical_block_exp", physical_block_exp, 0, 255)
        check_range("alignment_offset", alignment_offset, 0, 255)
        check_range("min_io_size", min_io_size, 0, 2**16 - 1)
        check_range("opt_io_size", opt_io_size, 0, 2**32 - 1)
        check_range("max_clear_sectors", max_clear_sectors, 1, 2**COUNT.width - 1)
        check_range("max_clear_seg", max_clear_seg, 1, 256)
        if len(serial) > ID_BYTES or not serial.isascii():
            raise ValueError(f"serial must be at most {ID_BYTES} ASCII characters, not {serial!r}")
        self.read_only = read_only
        self.block_size = block_size
        self.seg_max = seg_max
        self.size_max = size_max
        self.physical_block_exp = physical_block_exp
        self.alignment_offset = alignment_offset
        self.min_io_size = min_io_size
        self.opt_io_size = opt_io_size
        check_range("queues", queues, 1, 256)
        self.serial = serial
        self.queues = queues
        self.requests = requests
        self.max_clear_sectors = max_clear_sectors
        self.max_clear_seg = max_clear_seg
        self.may_unmap = may_unmap
        offered = [
            BlkFeature.SIZE_MAX,
            BlkFeature.SEG_MAX,
            BlkFeature.BLK_SIZE,
            BlkFeature.FLUSH,
            BlkFeature.TOPOLOGY,
            BlkFeature.CONFIG_WCE,
        ]
        offered += [BlkFeature.RO] if read_only else [BlkFeature.DISCARD, BlkFeature.WRITE_ZEROES]
        if queues > 1:
            offered.append(BlkFeature.MQ)
        super().__init__(
            table=DeviceTable(
                device_type=DeviceType.BLOCK,
                class_code=ClassCode.BLOCK,
                features=feature_mask(*offered),
                queues=queues,
                config=BlkConfig,
                writable=("writeback",),
            ),
            width=width,
            backend={"storage": Out(StorageSignature(width, requests))},
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = BlkRequests(
            width=self.width,
            requests=self.requests,
            read_only=self.read_only,
            serial=self.serial,
            max_clear_sectors=self.max_clear_sectors,
            max_clear_seg=self.max_clear_seg,
        )
        wiring.connect(m, wiring.flipped(self.chains), requests.chains)
        wiring.connect(m, requests.storage, wiring.flipped(self.storage))
        m.d.comb += [
            requests.capacity.eq(self.config.capacity),
            requests.write_back.eq(self._cache_mode(m) & self.driver_ok),
            requests.legacy.eq(self.legacy),
        ]

        config = self.config
        m.d.sync += [
            config.capacity.eq(self.storage.capacity),
            self.config_changed.eq(config.capacity != self.storage.capacity),
        ]
        m.d.comb += [
            config.size_max.eq(self.size_max),
            config.seg_max.eq(self.seg_max),
            config.blk_size.eq(self.block_size),
            config.physical_block_exp.eq(self.physical_block_exp),
            config.alignment_offset.eq(self.alignment_offset),
            config.min_io_size.eq(self.min_io_size),
            config.opt_io_size.eq(self.opt_io_size),
            config.num_queues.eq(self.queues if self.queues > 1 else 0),
        ]
        if not self.read_only:
            m.d.comb += [
                config.max_discard_sectors.eq(self.max_clear_sectors),
                config.max_discard_seg.eq(self.max_clear_seg),
                config.discard_sector_alignment.eq(self.block_size // SECTOR_BYTES),
                config.max_write_zeroes_sectors.eq(self.max_clear_sectors),
                config.max_write_zeroes_seg.eq(self.max_clear_seg),
                config.write_zeroes_may_unmap.eq(self.may_unmap),
            ]
        return m

    def _cache_mode(self, m: Module) -> Any:
        """``writeback``: the driver's choice, and what the accepted features make of it."""
        mode, settled = Signal(init=1), Signal()
        flush = self.features[BlkFeature.FLUSH]
        chosen = self.features[BlkFeature.CONFIG_WCE]
        # Features are in force from FEATURES_OK on; a legacy driver does not have it, nor VERSION_1.
        accepted = self.features[Feature.VERSION_1] | self.driver_ok
        field = field_offset(BlkConfig, "writeback")
        m.d.sync += settled.eq(accepted)
        with m.If(self.config_write.enable[field] & (chosen | (self.legacy & ~accepted))):
            m.d.sync += mode.eq(self.config_write.data.writeback.any())
        # BLK-LEG-DEV-03: a legacy driver's features change nothing if it chooses the mode itself.
        with m.If(accepted & ~settled & ~(chosen & (flush | self.legacy))):
            m.d.sync += mode.eq(flush & ~chosen)
        with m.If(self.chains.reset):
            m.d.sync += mode.eq(1)
        m.d.comb += self.config.writeback.eq(mode)
        return mode
