"""Entropy device.  [virtio 1.4 §5.4]"""

from collections import deque

from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType

from .device import DeviceKind
from .entropy import EntropySource

__all__ = ["HealthTests", "Rng"]


class HealthTests:
    """Continuous tests of a noise source.  [NIST SP 800-90B §4.4]

    Repetition count and adaptive proportion, with cut-offs for 8-bit samples of at least one bit of
    min-entropy. A failure stands until :meth:`reset`.
    """

    REPETITIONS = 21
    WINDOW = 512
    OCCURRENCES = 325

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.failed = False
        self._last, self._run = -1, 0
        self._first, self._seen, self._equal = -1, 0, 0

    def feed(self, byte: int) -> bool:
        """Look at one sample; whether the source is still good."""
        self._run = self._run + 1 if byte == self._last else 1
        self._last = byte
        if not self._seen:
            self._first, self._equal = byte, 0
        self._equal += byte == self._first
        self._seen = (self._seen + 1) % self.WINDOW
        self.failed |= self._run >= self.REPETITIONS or self._equal >= self.OCCURRENCES
        return not self.failed


class Rng(DeviceKind):
    """An entropy device on an :class:`EntropySource`.

    Gives no bytes while a health test fails, not even those that made it fail: a byte leaves only
    after as many later ones were good. A chain that cannot be served waits.

    Parameters
    ----------
    source
        Where bytes come from.
    """

    device_type = DeviceType.ENTROPY
    class_code = ClassCode.ENTROPY

    def __init__(self, source: EntropySource):
        self.source = source
        self.tests = HealthTests()
        self._delayed: deque[int] = deque()

    def handle(self, readable: bytes, room: int) -> bytes | None:
        """Fill the buffer; a source that fails is asked again later."""
        if not room:
            return b""
        data = bytearray()
        while len(data) < room:
            byte = self.source.next_byte()
            if not self.tests.feed(byte):
                self._delayed.clear()
                self.tests.reset()
                return None
            self._delayed.append(byte)
            if len(self._delayed) > HealthTests.REPETITIONS:
                data.append(self._delayed.popleft())
        return bytes(data)
