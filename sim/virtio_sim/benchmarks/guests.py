"""What a stock Linux gets out of the endpoint, and out of QEMU's own disk beside it in the same guest."""

from collections.abc import Iterator

from ..build import build_root
from ..guest.artifacts import artifacts
from ..guest.devices import QemuProvider, rtl_provider
from ..guest.run import Rig, Say, rows_of
from .report import Row

__all__ = ["BootFailed", "guests"]

KERNEL = "6.12"
BOOT = "blk root compared"
#: Figure of a boot's checks, in words, and the goal.
FIGURES = {
    "boot_s": ("root file system to shell, s", 60.0),
    "random1_requests_per_s": ("4 KiB random reads per s, one at a time", None),
    "random16_requests_per_s": ("4 KiB random reads per s, 16 under way", None),
    "sequential_mb_per_s": ("sequential MB/s", None),
}


class BootFailed(Exception):
    """A guest did not do what the figures are about; the message is for the user."""


def guests(seed: int, say: Say) -> Iterator[Row]:
    """Rows for the endpoint, each with the figure of QEMU's disk as the peer's where there is one."""
    parts = artifacts([KERNEL], say=say)
    rig = Rig(parts, rtl_provider(), build_root() / "bench" / "guest", seed=seed, say=say)
    (row,) = [row for row in rows_of(rig.provider, BOOT) if row.name == BOOT]
    figures: dict[str, dict[str, float]] = {rig.provider.name: {}, QemuProvider.name: {}}
    for result in rig.run([row]):
        if result.status != "passed":
            raise BootFailed(f"{result.provider} {BOOT}, {result.check} failed: {result.message}")
        figures[result.provider].update(result.figures)
    own, peer = figures[rig.provider.name], figures[QemuProvider.name]
    for name, (words, goal) in FIGURES.items():
        at_most = name == "boot_s"
        yield Row("Linux guest", f"{KERNEL} {BOOT}", words, own[name], peer.get(name), goal, at_most)
