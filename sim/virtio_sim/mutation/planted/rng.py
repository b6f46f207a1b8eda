"""Bugs of the entropy device."""

from virtio_models.rng import Rng

from .bug import bug, seen


@bug(seen("rng", "rng.a_stuck_source_gives_nothing"), seen("rng", "rng.a_biased_source_gives_nothing"))
class NeedsNoTests(Rng):
    """Bytes are given without health tests of the source."""

    def handle(self, readable, room):
        return bytes(self.source.next_byte() for _ in range(room))


@bug(seen("rng", "rng.bytes_are_those_of_the_noise_source"))
class RepeatsItself(Rng):
    """The same four bytes again and again."""

    def handle(self, readable, room):
        return (super().handle(readable, 32) or b"")[:4] * (room // 4 + 1) if room else b""


@bug(seen("rng", "rng.a_buffer_of_any_length_gets_bytes"))
class GivesNothing(Rng):
    """A buffer comes back with no bytes."""

    def handle(self, readable, room):
        return b""
