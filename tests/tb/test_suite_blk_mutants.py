"""The test list finds broken block devices: DISCARD, WRITE_ZEROES, and the cache mode."""

import pytest
from helpers.mutants import is_found
from virtio_models.blk import Blk, Unsupported
from virtio_models.disk import Disk, DiskError
from virtio_spec.blk import BlkReqType
from virtio_spec.virtio_pci import Interface


def changed(payload: bytes, part: slice, value: bytes) -> bytes:
    """Segments with a field of each replaced."""
    pieces = [bytearray(payload[at : at + 16]) for at in range(0, len(payload), 16)]
    for piece in pieces:
        if len(piece) == 16:
            piece[part] = value
    return b"".join(pieces)


class IgnoresFlags(Blk):
    def clear(self, type, payload):
        super().clear(type, changed(payload, slice(12, 16), bytes(4)))


class DiscardsWithUnmap(Blk):
    def clear(self, type, payload):
        flags = slice(12, 13) if type == BlkReqType.DISCARD else slice(0, 0)
        super().clear(type, changed(payload, flags, bytes(flags.stop - flags.start)))


class RefusesUnmap(Blk):
    def clear(self, type, payload):
        if any(payload[12::16]):
            raise Unsupported
        super().clear(type, payload)


class TakesTheFirstSegment(Blk):
    def clear(self, type, payload):
        super().clear(type, payload[:16] if len(payload) % 16 == 0 else payload)


class HasNoLimits(Blk):
    def clear(self, type, payload):
        self.max_clear_seg = 1000
        super().clear(type, payload)


class RoundsSegmentsDown(Blk):
    def clear(self, type, payload):
        super().clear(type, payload[: len(payload) // 16 * 16])


class StopsSilently(Blk):
    def clear(self, type, payload):
        try:
            super().clear(type, payload)
        except DiskError:
            pass


class ZeroesOneMore(Disk):
    def write_zeroes(self, sector, count, *, unmap=False):
        super().write_zeroes(sector, min(count + 1, self.capacity - sector) if count else 0, unmap=unmap)


class DiscardsAtZero(Disk):
    def discard(self, sector, count):
        super().discard(sector - 1 if count else sector, count)


class DoesNothing(Disk):
    def write_zeroes(self, sector, count, *, unmap=False):
        self.read(sector, count)


class AlwaysCaches(Blk):
    def _write_through(self):
        pass


class CachesZeros(Blk):
    def clear(self, type, payload):
        mode, self._write_through = self._write_through, lambda: None
        super().clear(type, payload)
        self._write_through = mode


class ShowsAnotherMode(Blk):
    def config(self):
        content = super().config()
        return content[:32] + b"\1" + content[33:]


class StartsWithWriteBack(Blk):
    @property
    def writeback(self):
        return 1 if self._chosen is None else self._chosen


class NewFeaturesNewMode(Blk):
    @property
    def writeback(self):
        return super().writeback & (self.driver_ok or not self.accepted)


class ClearsReadOnly(Blk):
    def __init__(self, disk, **options):
        super().__init__(disk, **options)
        self.read_only = False


MUTANTS = [
    ({"blk": IgnoresFlags}, "segments_with_flags_that_do_not_exist_are_unsupported"),
    ({"blk": DiscardsWithUnmap}, "segments_with_flags_that_do_not_exist_are_unsupported"),
    ({"blk": RefusesUnmap}, "zeroed_sectors_read_as_zeros"),
    ({"blk": TakesTheFirstSegment}, "several_segments_are_one_request_however_it_is_cut"),
    ({"blk": HasNoLimits}, "segments_beyond_the_limits_are_an_error"),
    ({"blk": RoundsSegmentsDown}, "segments_beyond_the_limits_are_an_error"),
    ({"blk": StopsSilently}, "a_fault_of_the_disk_in_any_segment_is_an_error"),
    ({"disk": ZeroesOneMore}, "zeroed_sectors_read_as_zeros"),
    ({"disk": DoesNothing}, "zeroed_sectors_read_as_zeros"),
    ({"disk": DoesNothing}, "requests_of_all_kinds_are_in_flight_together"),
    ({"disk": DiscardsAtZero}, "a_discard_touches_its_sectors_only"),
    ({"blk": AlwaysCaches}, "the_driver_chooses_the_cache_mode"),
    ({"blk": CachesZeros}, "the_driver_chooses_the_cache_mode"),
    ({"blk": ShowsAnotherMode}, "the_driver_chooses_the_cache_mode"),
    ({"blk": StartsWithWriteBack}, "without_flush_the_cache_mode_starts_as_write_through"),
    (
        {"blk": NewFeaturesNewMode, "interface": Interface.TRANSITIONAL, "transport": "legacy"},
        "the_cache_mode_is_the_drivers_before_driver_ok",
    ),
    ({"blk": ClearsReadOnly, "read_only": True}, "a_read_only_disk_knows_neither_discard_nor_write_zeroes"),
    ({"disk": DoesNothing, "queues": 3}, "requests_of_all_kinds_are_in_flight_on_all_queues"),
    ({"blk": IgnoresFlags, "queues": 3}, "a_failure_on_one_queue_does_not_touch_the_others"),
]


@pytest.mark.parametrize(
    ("broken", "name"), MUTANTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_broken_block_device_is_found(broken, name):
    assert is_found("blk", f"blk.{name}", broken), f"{name} passes"
