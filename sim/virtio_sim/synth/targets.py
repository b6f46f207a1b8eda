"""What is measured, what it should come to, and what other cores came to in the same flow."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import ConfigError, Configuration

__all__ = ["PEERS", "TARGETS", "Peer", "Target", "chosen"]

#: A quarter more than the best peer's clock in this flow.
CLOCK_GOAL = 155.0


@dataclass(frozen=True)
class Target:
    """A configuration, with the goals on ecp5, where there are any."""

    configuration: Configuration
    lut: int | None = None
    fmax_mhz: float | None = None


TARGETS = (
    Target(Configuration("rng", 64), lut=3000, fmax_mhz=CLOCK_GOAL),
    Target(Configuration("blk", 128), fmax_mhz=CLOCK_GOAL),
    # 16 queues for packets, and one for commands. Together they have more chains than the link needs; with
    # 128 each, which is what one pair needs, they take more block RAM than the largest ECP5 has.
    Target(Configuration("net", 256, queues=8, chains=32)),
)


@dataclass(frozen=True)
class Peer:
    """Another open core in this flow, in this wrapper, with one seed: good to 5 %.

    LUTs and block RAMs are those of ecp5 and xc7; flip-flops and clock those of ecp5 at speed 8.
    """

    name: str
    lut: tuple[int, int]
    ff: int | None
    bram: tuple[int, int]
    fmax_mhz: float


PEERS = (
    Peer("verilog-pcie dma_if_pcie, 64 bits, 32 tags", (2753, 1985), 1664, (0, 0), 122),
    Peer("verilog-pcie dma_if_pcie, 128 bits, 32 tags", (3907, 2846), 2077, (0, 0), 127),
    Peer("verilog-pcie dma_if_pcie, 256 bits, 256 tags", (8542, 5128), 2974, (0, 0), 92),
    Peer("verilog-pcie pcie_msix, 32 vectors", (510, 245), 511, (4, 0), 171),
    Peer("taxi dma_if_pcie_us, 128 bits, 256 tags", (6204, 3302), 2023, (0, 0), 83),
    Peer("LitePCIe, 1 DMA and MSI, 64 bits", (4272, 2170), 2891, (22, 11), 120),
    Peer("LitePCIe, 1 DMA and MSI, 128 bits", (4883, 2716), 4030, (36, 14), 124),
)


def chosen(names: Sequence[str]) -> list[Target]:
    """Targets whose configurations have these names; all without any."""
    known = {target.configuration.name: target for target in TARGETS}
    for name in names:
        if name not in known:
            raise ConfigError(f"{name!r} is not measured; choose of {', '.join(known)}")
    return [target for name, target in known.items() if not names or name in names]
