"""Block device.  [virtio 1.4 §5.2]"""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from virtio_spec.blk import ID_BYTES, BlkConfig, BlkFeature
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask

from .blk_requests import BlkRequests
from .interface import Device, DeviceTable
from .storage import StorageSignature

__all__ = ["BlkDevice"]


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise a ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


class BlkDevice(Device):
    """Carry out block requests on a storage, one after another.

    IN, OUT, FLUSH and GET_ID are carried out, any other type ends with UNSUPP. IN and OUT end with
    IOERR, and nothing is stored, if their data is no multiple of 512 bytes or lies beyond the
    capacity, and OUT if the device is read-only. A request of less than 16 readable bytes ends with
    IOERR. The status is the chain's last writable byte, whatever the descriptors; writable bytes that
    carry no data are filled with zeros, so that all of them count as written. A chain without a
    writable byte has no room for a status: it is completed, and nothing else is done. So is a chain
    whose readable bytes could not be read to the end; a write under way is aborted.

    While FLUSH is not accepted, writes are stable when they complete: the device flushes the storage
    after each of them.  [§5.2.6.2] So it does before DRIVER_OK, which only the legacy interface lets a
    driver see: writing features does not change the cache mode.  [§5.2.5.3] On the legacy interface
    FLUSH_OUT is the same as FLUSH.  [§5.2.6.3]

    Data moves at one beat per cycle. A reset waits for the operation that the storage has begun.

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

    Members
    -------
    storage : :py:`Out(StorageSignature(width))`
        What is behind the device. A new capacity is told as a configuration change.
    """

    chains: Any
    features: Any
    driver_ok: Any
    legacy: Any
    config: Any
    config_changed: Any
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
    ):
        if block_size & (block_size - 1) or not 512 <= block_size <= 32768:
            raise ValueError(f"block_size must be a power of two from 512 to 32768, not {block_size}")
        check_range("seg_max", seg_max, 1, 32768)
        check_range("size_max", size_max, 1, 2**32 - 1)
        check_range("physical_block_exp", physical_block_exp, 0, 255)
        check_range("alignment_offset", alignment_offset, 0, 255)
        check_range("min_io_size", min_io_size, 0, 2**16 - 1)
        check_range("opt_io_size", opt_io_size, 0, 2**32 - 1)
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
        offered = [
            BlkFeature.SIZE_MAX,
            BlkFeature.SEG_MAX,
            BlkFeature.BLK_SIZE,
            BlkFeature.FLUSH,
            BlkFeature.TOPOLOGY,
        ]
        if read_only:
            offered.append(BlkFeature.RO)
        if queues > 1:
            offered.append(BlkFeature.MQ)
        super().__init__(
            table=DeviceTable(
                device_type=DeviceType.BLOCK,
                class_code=ClassCode.BLOCK,
                features=feature_mask(*offered),
                queues=queues,
                config=BlkConfig,
            ),
            width=width,
            backend={"storage": Out(StorageSignature(width))},
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = BlkRequests(
            width=self.width, read_only=self.read_only, serial=self.serial
        )
        wiring.connect(m, wiring.flipped(self.chains), requests.chains)
        wiring.connect(m, requests.storage, wiring.flipped(self.storage))
        m.d.comb += [
            requests.capacity.eq(self.config.capacity),
            requests.write_back.eq(self.driver_ok & self.features[BlkFeature.FLUSH]),
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
        return m
