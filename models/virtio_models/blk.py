"""Block device.  [virtio 1.4 §5.2]"""

from virtio_spec import wire
from virtio_spec.blk import (
    ID_BYTES,
    SECTOR_BYTES,
    BlkConfig,
    BlkFeature,
    BlkReqHeader,
    BlkReqType,
    BlkSegment,
    BlkSegmentFlag,
    BlkStatus,
)
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, Feature, feature_mask

from .disk import Disk, DiskError
from .kind import DeviceKind

__all__ = ["Blk"]

MAX_QUEUES = 256


class Unsupported(Exception):
    """A request, or a part of it, that the device does not know."""


class Blk(DeviceKind):
    """A block device on a :class:`Disk`.

    The status byte is the last writable byte. A request that fails has its data area filled with
    zeros, so that the used length always covers every byte up to the status.

    Parameters
    ----------
    disk
        What is behind it.
    read_only
        Offer VIRTIO_BLK_F_RO and refuse writes.
    seg_max, size_max
        Advertised limits on a request's data segments.
    serial
        What GET_ID returns, up to 20 bytes.
    queues
        Request queues, 1 to 256; more than one are offered as VIRTIO_BLK_F_MQ.
    max_clear_sectors, max_clear_seg
        Limits of DISCARD and WRITE_ZEROES, which a read-only device does not offer.
    """

    device_type = DeviceType.BLOCK
    class_code = ClassCode.BLOCK
    config_layout = BlkConfig
    writable = ("writeback",)

    def __init__(
        self,
        disk: Disk,
        *,
        read_only: bool = False,
        seg_max: int = 62,
        size_max: int = 65536,
        serial: bytes = b"virtio-models",
        queues: int = 1,
        max_clear_sectors: int = 1 << 22,
        max_clear_seg: int = 16,
    ):
        if len(serial) > ID_BYTES:
            raise ValueError(f"a serial number has at most {ID_BYTES} bytes, not {len(serial)}")
        if not 1 <= queues <= MAX_QUEUES:
            raise ValueError(f"a block device has 1 to {MAX_QUEUES} queues, not {queues}")
        self.queues = queues
        self.disk, self.read_only, self.seg_max, self.size_max, self.serial = (
            disk,
            read_only,
            seg_max,
            size_max,
            serial,
        )
        bits = [BlkFeature.SIZE_MAX, BlkFeature.SEG_MAX, BlkFeature.BLK_SIZE, BlkFeature.FLUSH]
        bits += [BlkFeature.TOPOLOGY, BlkFeature.CONFIG_WCE]
        bits += [BlkFeature.RO] if read_only else [BlkFeature.DISCARD, BlkFeature.WRITE_ZEROES]
        bits += [BlkFeature.MQ] if queues > 1 else []
        self.features = feature_mask(*bits)
        self.max_clear_sectors, self.max_clear_seg = max_clear_sectors, max_clear_seg
        self._chosen: int | None = None  # writeback, as the driver has written it
        disk.listeners.append(lambda _: self.changed())

    def config(self) -> bytes:
        """``struct virtio_blk_config``; fields of features that are not offered are 0."""
        clear: dict[str, int] = {}
        if not self.read_only:
            clear = {
                "max_discard_sectors": self.max_clear_sectors,
                "max_discard_seg": self.max_clear_seg,
                "discard_sector_alignment": 1,
                "max_write_zeroes_sectors": self.max_clear_sectors,
                "max_write_zeroes_seg": self.max_clear_seg,
                "write_zeroes_may_unmap": 1,
            }
        return wire.pack(
            BlkConfig,
            capacity=self.disk.capacity,
            size_max=self.size_max,
            seg_max=self.seg_max,
            blk_size=SECTOR_BYTES,
            min_io_size=1,
            opt_io_size=1,
            writeback=self.writeback,
            num_queues=self.queues if self.queues > 1 else 0,
            **clear,
        )

    @property
    def writeback(self) -> int:
        """The cache mode: 1 for write-back.  [§5.2.5.2, §5.2.5.3]

        The driver's choice if it has accepted CONFIG_WCE, and otherwise whether it has accepted FLUSH; 1
        until it is known what it accepts. With CONFIG_WCE and without FLUSH it starts at 0, but on the
        legacy interface, where no feature changes the mode of a driver that has accepted CONFIG_WCE.
        """
        flush = self.accepted >> BlkFeature.FLUSH & 1
        known = self.driver_ok or self.accepted >> Feature.VERSION_1 & 1
        if not known or self.accepted >> BlkFeature.CONFIG_WCE & 1:
            if self._chosen is not None:
                return self._chosen
            return 1 if self.legacy or not known else flush
        return flush

    def config_written(self, offset: int, data: bytes) -> None:
        """Choose the cache mode: a modern driver with CONFIG_WCE, a legacy one before DRIVER_OK, too."""
        if self.accepted >> BlkFeature.CONFIG_WCE & 1 or (self.legacy and not self.driver_ok):
            place = wire.field_offset(BlkConfig, "writeback") - offset
            self._chosen = int(data[place] != 0)

    def reset(self) -> None:
        """The cache mode is as in the beginning, too."""
        super().reset()
        self._chosen = None

    def handle(self, readable: bytes, room: int) -> bytes:
        """One request."""
        if not room:
            return b""
        status, data = self._execute(readable, room - 1)
        return data[: room - 1].ljust(room - 1, b"\0") + bytes([status])

    def _execute(self, readable: bytes, room: int) -> tuple[BlkStatus, bytes]:
        size = wire.size(BlkReqHeader)
        if len(readable) < size:
            return BlkStatus.IOERR, b""
        header, payload = wire.unpack(BlkReqHeader, readable[:size]), readable[size:]
        try:
            match header.type:
                case BlkReqType.IN:
                    return BlkStatus.OK, self.read(header.sector, room)
                case BlkReqType.OUT:
                    self.write(header.sector, payload)
                    return BlkStatus.OK, b""
                case BlkReqType.FLUSH:
                    self.disk.flush()
                    return BlkStatus.OK, b""
                case BlkReqType.FLUSH_OUT if self.legacy:  # §5.2.6.3
                    self.disk.flush()
                    return BlkStatus.OK, b""
                case BlkReqType.GET_ID:
                    return BlkStatus.OK, self.serial
                case BlkReqType.DISCARD | BlkReqType.WRITE_ZEROES if not self.read_only:
                    self.clear(header.type, payload)
                    return BlkStatus.OK, b""
        except DiskError:
            return BlkStatus.IOERR, b""
        except Unsupported:
            pass
        return BlkStatus.UNSUPP, b""

    def read(self, sector: int, length: int) -> bytes:
        """IN; :class:`DiskError`."""
        if length % SECTOR_BYTES:
            raise DiskError("not whole sectors")
        return self.disk.read(sector, length // SECTOR_BYTES)

    def write(self, sector: int, payload: bytes) -> None:
        """OUT; :class:`DiskError`.

        Durable at once in write-through mode, and for a driver that is not there yet: on the legacy
        interface it is DRIVER_OK and nothing else that turns the cache on, §5.2.5.3.
        """
        if self.read_only or len(payload) % SECTOR_BYTES:
            raise DiskError("read-only, or not whole sectors")
        self.disk.write(sector, payload)
        self._write_through()

    def clear(self, type: int, payload: bytes) -> None:
        """DISCARD or WRITE_ZEROES, segment by segment; :class:`DiskError`, :class:`Unsupported`."""
        size = wire.size(BlkSegment)
        if len(payload) % size or len(payload) > size * self.max_clear_seg:
            raise DiskError("not whole segments, or too many")
        for start in range(0, len(payload), size):
            segment = wire.unpack(BlkSegment, payload[start : start + size])
            unmap = bool(segment.flags & BlkSegmentFlag.UNMAP)
            if segment.flags >> 1 or (unmap and type == BlkReqType.DISCARD):
                raise Unsupported
            if segment.num_sectors > self.max_clear_sectors:
                raise DiskError("too many sectors")
            if type == BlkReqType.DISCARD:
                self.disk.discard(segment.sector, segment.num_sectors)
            else:
                self.disk.write_zeroes(segment.sector, segment.num_sectors, unmap=unmap)
                self._write_through()

    def _write_through(self) -> None:
        if not (self.driver_ok and self.writeback):
            self.disk.flush()
