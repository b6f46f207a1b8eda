"""Block device.  [virtio 1.4 §5.2]"""

from virtio_spec import wire
from virtio_spec.blk import (
    ID_BYTES,
    SECTOR_BYTES,
    BlkConfig,
    BlkFeature,
    BlkReqHeader,
    BlkReqType,
    BlkStatus,
)
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask

from .disk import Disk, DiskError
from .kind import DeviceKind

__all__ = ["Blk"]

MAX_QUEUES = 256


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
    """

    device_type = DeviceType.BLOCK
    class_code = ClassCode.BLOCK
    config_layout = BlkConfig

    def __init__(
        self,
        disk: Disk,
        *,
        read_only: bool = False,
        seg_max: int = 62,
        size_max: int = 65536,
        serial: bytes = b"virtio-models",
        queues: int = 1,
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
        bits += [BlkFeature.TOPOLOGY] + ([BlkFeature.RO] if read_only else [])
        bits += [BlkFeature.MQ] if queues > 1 else []
        self.features = feature_mask(*bits)
        disk.listeners.append(lambda _: self.changed())

    def config(self) -> bytes:
        """``struct virtio_blk_config``; fields of features that are not offered are 0."""
        return wire.pack(
            BlkConfig,
            capacity=self.disk.capacity,
            size_max=self.size_max,
            seg_max=self.seg_max,
            blk_size=SECTOR_BYTES,
            min_io_size=1,
            opt_io_size=1,
            num_queues=self.queues if self.queues > 1 else 0,
        )

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
        except DiskError:
            return BlkStatus.IOERR, b""
        return BlkStatus.UNSUPP, b""

    def read(self, sector: int, length: int) -> bytes:
        """IN; :class:`DiskError`."""
        if length % SECTOR_BYTES:
            raise DiskError("not whole sectors")
        return self.disk.read(sector, length // SECTOR_BYTES)

    def write(self, sector: int, payload: bytes) -> None:
        """OUT; :class:`DiskError`.

        Durable at once for a driver that cannot flush, §5.2.6.1, or is not there yet: on the legacy
        interface it is DRIVER_OK and nothing else that turns the cache on, §5.2.5.3.
        """
        if self.read_only or len(payload) % SECTOR_BYTES:
            raise DiskError("read-only, or not whole sectors")
        self.disk.write(sector, payload)
        if not (self.driver_ok and self.accepted >> BlkFeature.FLUSH & 1):
            self.disk.flush()
