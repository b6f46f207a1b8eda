"""What a bench of one's own is made for, with ``virtio-endpoint conformance --bench module:name``.

The name is an ``async def`` that takes a :class:`Setup` and returns a bench, whose host has enumerated the
device. It is called again whenever a device fresh from its reset is needed.
"""

from dataclasses import dataclass
from typing import Any

from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource

from .host import Host
from .suite import Bench
from .variant import PLAIN, RingVariant

__all__ = ["BACKEND", "Setup"]

#: Name of the backend in reports.
BACKEND = "own"
#: Of a disk that nothing shows.
SECTORS = 48


@dataclass(frozen=True)
class Setup:
    """What a bench is made for.

    Attributes
    ----------
    dut
        The top module as cocotb has it, in a simulation; otherwise ``None``.
    seed
        For everything random.
    stall
        Probability of a pause on the streams of the design, in each cycle; for whoever has such.
    transport
        Which interface the driver uses, ``"modern"`` or ``"legacy"``; empty if that is still open.
    habit
        How a legacy driver reads the device configuration, ``"natural"`` or ``"bytes"``.
    variant
        The ring features that the driver negotiates and uses.
    """

    dut: Any = None
    seed: int = 1
    stall: float = 0.0
    transport: str = ""
    habit: str = "natural"
    variant: RingVariant = PLAIN

    def bench(self, host: Host, *, device: str, queue_size: int, **options: Any) -> Bench:
        """A bench above ``host`` for this driver; ``options`` are those of :class:`~.suite.Bench`.

        ``device`` is its type, ``"rng"``, ``"blk"`` or ``"net"``; ``queue_size`` is the largest that it
        offers. What is behind it, ``entropy``, ``disk`` or ``network``, has to be what the design gives out.
        ``interface`` is modern if nothing is said.
        """
        bench = Bench(
            **{
                "host": host,
                "device": device,
                "backend": BACKEND,
                "queue_size": queue_size,
                "habit": self.habit,
                "variant": self.variant,
                "seed": self.seed,
                "disk": Disk(SECTORS),
                "entropy": EntropySource(self.seed),
                **options,
            }
        )
        bench.transport = self.transport or ("modern" if bench.interface.has_modern else "legacy")
        return bench
