"""Block device.  [virtio 1.4 §5.2]"""

import enum

from amaranth.lib import data

__all__ = [
    "ID_BYTES",
    "SECTOR_BYTES",
    "BlkConfig",
    "BlkFeature",
    "BlkReqHeader",
    "BlkReqType",
    "BlkSegment",
    "BlkSegmentFlag",
    "BlkStatus",
]

SECTOR_BYTES = 512
ID_BYTES = 20


class BlkFeature(enum.IntEnum):
    """Feature bit numbers.  [§5.2.3]"""

    SIZE_MAX = 1
    SEG_MAX = 2
    GEOMETRY = 4
    RO = 5
    BLK_SIZE = 6
    FLUSH = 9
    TOPOLOGY = 10
    CONFIG_WCE = 11
    MQ = 12
    DISCARD = 13
    WRITE_ZEROES = 14
    LIFETIME = 15
    SECURE_ERASE = 16
    ZONED = 17


class BlkReqType(enum.IntEnum):
    """``virtio_blk_req.type``.  [§5.2.6]"""

    IN = 0
    OUT = 1
    FLUSH = 4
    FLUSH_OUT = 5  # on the legacy interface the same as FLUSH
    GET_ID = 8
    GET_LIFETIME = 10
    DISCARD = 11
    WRITE_ZEROES = 13
    SECURE_ERASE = 14


class BlkStatus(enum.IntEnum):
    """``virtio_blk_req.status``.  [§5.2.6]"""

    OK = 0
    IOERR = 1
    UNSUPP = 2


class BlkReqHeader(data.Struct):
    """Readable start of ``struct virtio_blk_req``, 16 bytes.  [§5.2.6]"""

    type: 32
    reserved: 32
    sector: 64


class BlkSegmentFlag(enum.IntFlag):
    """``virtio_blk_discard_write_zeroes.flags``; all other bits are reserved.  [§5.2.6]"""

    UNMAP = 1 << 0


class BlkSegment(data.Struct):
    """``struct virtio_blk_discard_write_zeroes``, 16 bytes.  [§5.2.6]"""

    sector: 64
    num_sectors: 32
    flags: 32


class BlkConfig(data.Struct):
    """``struct virtio_blk_config``, 96 bytes.  [§5.2.4]"""

    capacity: 64  # 512-byte sectors
    size_max: 32
    seg_max: 32
    cylinders: 16
    heads: 8
    sectors: 8
    blk_size: 32
    physical_block_exp: 8
    alignment_offset: 8
    min_io_size: 16
    opt_io_size: 32
    writeback: 8
    unused0: 8
    num_queues: 16
    max_discard_sectors: 32
    max_discard_seg: 32
    discard_sector_alignment: 32
    max_write_zeroes_sectors: 32
    max_write_zeroes_seg: 32
    write_zeroes_may_unmap: 8
    unused1: 24
    max_secure_erase_sectors: 32
    max_secure_erase_seg: 32
    secure_erase_sector_alignment: 32
    zone_sectors: 32
    max_open_zones: 32
    max_active_zones: 32
    max_append_sectors: 32
    write_granularity: 32
    zoned_model: 8
    unused2: 24
