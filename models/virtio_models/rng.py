"""Entropy device.  [virtio 1.4 §5.4]"""

import math

from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType

from .entropy import EntropySource
from .kind import DeviceKind

__all__ = ["Rng", "healthy", "proportion_cutoff", "repetition_cutoff"]

WINDOW = 512  # samples of an adaptive proportion test
STARTUP = 1024  # samples of a start-up test
ALPHA = 2.0**-20  # probability that a good source fails a test


def repetition_cutoff(min_entropy: float) -> int:
    """Equal samples in a row that fail the repetition count test.  [NIST SP 800-90B §4.4.1]"""
    return 1 + math.ceil(-math.log2(ALPHA) / min_entropy)


def proportion_cutoff(min_entropy: float) -> int:
    """Samples of a window like its first that fail the adaptive proportion test.  [SP 800-90B §4.4.2]"""
    p, below = 2.0**-min_entropy, 0.0
    for count in range(WINDOW + 1):
        below += math.comb(WINDOW, count) * p**count * (1 - p) ** (WINDOW - count)
        if below >= 1 - ALPHA:
            return 1 + count
    raise ValueError(f"no cut-off for a min-entropy of {min_entropy}")


def healthy(samples: bytes, min_entropy: float) -> bool:
    """Whether a run of samples, whole windows of them, passes both continuous tests."""
    repetition, proportion = repetition_cutoff(min_entropy), proportion_cutoff(min_entropy)
    if any(bytes([byte]) * repetition in samples for byte in set(samples)):
        return False
    windows = (samples[start : start + WINDOW] for start in range(0, len(samples), WINDOW))
    return all(window.count(window[0]) < proportion for window in windows)


class Rng(DeviceKind):
    """An entropy device on an :class:`EntropySource`.

    A sample leaves only after the window it lies in has passed the health tests; a chain that cannot
    be served waits. After a failure everything held is dropped and a start-up test has to pass.

    Parameters
    ----------
    source
        Where bytes come from.
    min_entropy
        Assessed min-entropy of a sample in bits.
    """

    device_type = DeviceType.ENTROPY
    class_code = ClassCode.ENTROPY

    def __init__(self, source: EntropySource, *, min_entropy: float = 4.0):
        self.source, self.min_entropy = source, min_entropy
        self._good = b""
        self._last = b""  # end of the samples before, for runs across windows
        self._started = False

    def handle(self, readable: bytes, room: int) -> bytes | None:
        """Fill the buffer; a source that fails is asked again later."""
        while len(self._good) < room:
            samples = bytes(self.source.next_byte() for _ in range(WINDOW if self._started else STARTUP))
            if not healthy(samples, self.min_entropy) or self._runs_on(samples):
                self._good, self._started = b"", False
                return None
            self._last = samples[-repetition_cutoff(self.min_entropy) :]
            if self._started:
                self._good += samples
            self._started = True
        data, self._good = self._good[:room], self._good[room:]
        return data

    def _runs_on(self, samples: bytes) -> bool:
        cutoff = repetition_cutoff(self.min_entropy)
        border = self._last + samples[:cutoff]
        return any(bytes([byte]) * cutoff in border for byte in set(border))
