"""What a stock Linux gets out of the endpoint, beside QEMU's own disk in the same run."""

from collections.abc import Iterator, Sequence

from ..build import build_root
from ..guest.artifacts import artifacts
from ..guest.devices import QemuProvider, rtl_provider
from ..guest.report import Result
from ..guest.run import Rig, Say, rows_of
from .report import Row

__all__ = ["BootFailed", "guests"]

KERNEL = "6.12"
BOOT = "blk root"
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
    """Rows for the endpoint, each with QEMU's figure as the peer's."""
    parts = artifacts([KERNEL], say=say)
    peer, own = (
        _figures(Rig(parts, provider, build_root() / "bench" / "guest", seed=seed, say=say))
        for provider in (QemuProvider(), rtl_provider())
    )
    for name, (words, goal) in FIGURES.items():
        yield Row("Linux guest", f"{KERNEL} {BOOT}, beside QEMU's", words, own[name], peer[name], goal)


def _figures(rig: Rig) -> dict[str, float]:
    (row,) = [row for row in rows_of(rig.provider, BOOT) if row.name == BOOT]
    results: Sequence[Result] = rig.run([row])
    if failed := [f"{result.check}: {result.message}" for result in results if result.status != "passed"]:
        raise BootFailed(f"{rig.provider.name} {BOOT} failed: {failed[0]}")
    return {name: value for result in results for name, value in result.figures.items()}
