"""Bugs of the block device."""

from virtio_models.blk import Blk, Unsupported
from virtio_models.disk import Disk, DiskError
from virtio_spec.blk import BlkReqType
from virtio_spec.virtio_pci import Interface

from .bug import bug, seen


def changed(payload: bytes, part: slice, value: bytes) -> bytes:
    """Segments with a field of each replaced."""
    pieces = [bytearray(payload[at : at + 16]) for at in range(0, len(payload), 16)]
    for piece in pieces:
        if len(piece) == 16:
            piece[part] = value
    return b"".join(pieces)


@bug(seen("blk", "queues.the_number_of_queues_is_told", queues=3))
class CountsNoQueues(Blk):
    """num_queues reads 0."""

    def config(self):
        content = super().config()
        return content[:34] + bytes(2) + content[36:]


@bug(seen("blk", "blk.a_read_only_disk_refuses_writes", read_only=True))
class IgnoresReadOnly(Blk):
    """A read-only disk can be written."""

    def write(self, sector, payload):
        self.read_only = False
        super().write(sector, payload)


@bug(seen("blk", "blk.beyond_the_end_is_an_error"))
class AnswersInADifferentLength(Blk):
    """A read that fails has a status and none of the data's length."""

    def handle(self, readable, room):
        answer = super().handle(readable, room)
        return answer if answer[-1:] == b"\0" else answer[-1:]


@bug(seen("blk", "blk.beyond_the_end_is_an_error"))
class WrapsAround(Blk):
    """A read beyond the end starts anew at the beginning of the disk."""

    def read(self, sector, length):
        return super().read(sector % self.disk.capacity, length)


@bug(seen("blk", "blk.other_requests_are_unsupported"), seen("blk", "blk.a_fault_of_the_disk_is_an_error"))
class EverythingSucceeds(Blk):
    """The status is always OK."""

    def _execute(self, readable, room):
        _, data = super()._execute(readable, room)
        return 0, data


@bug(
    seen("blk", "blk.a_flush_makes_writes_durable"),
    seen("blk", "blk.without_flush_every_write_is_durable"),
    traps=(30,),
)
class NeverFlushes(Disk):
    """A flush is counted and does nothing."""

    def flush(self):
        self.counts["flush"] += 1


@bug(
    seen("blk", "blk.segments_with_flags_that_do_not_exist_are_unsupported"),
    seen("blk", "blk.a_failure_on_one_queue_does_not_touch_the_others", queues=3),
)
class IgnoresFlags(Blk):
    """Flags of DISCARD and WRITE_ZEROES are not looked at."""

    def clear(self, type, payload):
        super().clear(type, changed(payload, slice(12, 16), bytes(4)))


@bug(seen("blk", "blk.segments_with_flags_that_do_not_exist_are_unsupported"))
class DiscardsWithUnmap(Blk):
    """DISCARD with unmap set is carried out."""

    def clear(self, type, payload):
        flags = slice(12, 13) if type == BlkReqType.DISCARD else slice(0, 0)
        super().clear(type, changed(payload, flags, bytes(flags.stop - flags.start)))


@bug(seen("blk", "blk.zeroed_sectors_read_as_zeros"))
class RefusesUnmap(Blk):
    """WRITE_ZEROES with unmap set is unsupported."""

    def clear(self, type, payload):
        if any(payload[12::16]):
            raise Unsupported
        super().clear(type, payload)


@bug(seen("blk", "blk.several_segments_are_one_request_however_it_is_cut"))
class TakesTheFirstSegment(Blk):
    """All segments but the first are ignored."""

    def clear(self, type, payload):
        super().clear(type, payload[:16] if len(payload) % 16 == 0 else payload)


@bug(seen("blk", "blk.segments_beyond_the_limits_are_an_error"))
class HasNoLimits(Blk):
    """More segments are taken than the configuration allows."""

    def clear(self, type, payload):
        self.max_clear_seg = 1000
        super().clear(type, payload)


@bug(seen("blk", "blk.segments_beyond_the_limits_are_an_error"))
class RoundsSegmentsDown(Blk):
    """A part of a segment at the end is ignored."""

    def clear(self, type, payload):
        super().clear(type, payload[: len(payload) // 16 * 16])


@bug(seen("blk", "blk.a_fault_of_the_disk_in_any_segment_is_an_error"))
class StopsSilently(Blk):
    """A fault in a segment is not told."""

    def clear(self, type, payload):
        try:
            super().clear(type, payload)
        except DiskError:
            pass


@bug(seen("blk", "blk.zeroed_sectors_read_as_zeros"))
class ZeroesOneMore(Disk):
    """One sector too many is zeroed."""

    def write_zeroes(self, sector, count, *, unmap=False):
        super().write_zeroes(sector, min(count + 1, self.capacity - sector) if count else 0, unmap=unmap)


@bug(seen("blk", "blk.a_discard_touches_its_sectors_only"))
class DiscardsAtZero(Disk):
    """A discard starts a sector too early."""

    def discard(self, sector, count):
        super().discard(sector - 1 if count else sector, count)


@bug(
    seen("blk", "blk.zeroed_sectors_read_as_zeros"),
    seen("blk", "blk.requests_of_all_kinds_are_in_flight_together"),
    seen("blk", "blk.requests_of_all_kinds_are_in_flight_on_all_queues", queues=3),
)
class DoesNothing(Disk):
    """WRITE_ZEROES reads, and writes nothing."""

    def write_zeroes(self, sector, count, *, unmap=False):
        self.read(sector, count)


@bug(seen("blk", "blk.the_driver_chooses_the_cache_mode"), traps=(30,))
class AlwaysCaches(Blk):
    """Writes are cached in write-through mode."""

    def _write_through(self):
        pass


@bug(seen("blk", "blk.the_driver_chooses_the_cache_mode"), traps=(30,))
class CachesZeros(Blk):
    """WRITE_ZEROES is cached in write-through mode."""

    def clear(self, type, payload):
        mode, self._write_through = self._write_through, lambda: None
        super().clear(type, payload)
        self._write_through = mode


@bug(seen("blk", "blk.the_driver_chooses_the_cache_mode"))
class ShowsAnotherMode(Blk):
    """The cache mode always reads as write-back."""

    def config(self):
        content = super().config()
        return content[:32] + b"\1" + content[33:]


@bug(seen("blk", "blk.without_flush_the_cache_mode_starts_as_write_through"))
class StartsWithWriteBack(Blk):
    """The cache mode starts as write-back without VIRTIO_BLK_F_FLUSH."""

    @property
    def writeback(self):
        return 1 if self._chosen is None else self._chosen


@bug(
    seen(
        "blk",
        "blk.the_cache_mode_is_the_drivers_before_driver_ok",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    )
)
class NewFeaturesNewMode(Blk):
    """The cache mode falls back when features are negotiated."""

    @property
    def writeback(self):
        return super().writeback & (self.driver_ok or not self.accepted)


@bug(seen("blk", "blk.a_read_only_disk_knows_neither_discard_nor_write_zeroes", read_only=True))
class ClearsReadOnly(Blk):
    """DISCARD and WRITE_ZEROES work on a read-only disk."""

    def __init__(self, disk, **options):
        super().__init__(disk, **options)
        self.read_only = False
