"""Where the kernel has a card for a program of its own: the group of a PCI function, found by its address."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DRIVER", "Group", "VfioError", "find_group"]

DRIVER = "vfio-pci"
ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
#: Drivers that do nothing with their device, as far as a group is concerned, and none.
HARMLESS = ("", DRIVER, "pcieport", "pci-stub")
BINDING = "docs/vfio.md says how"


class VfioError(Exception):
    """A card cannot be had; the message says in one sentence what to do."""


@dataclass(frozen=True)
class Group:
    """What the IOMMU keeps together, or without an IOMMU the function alone.

    Attributes
    ----------
    address
        Of the PCI function.
    number
        The group's.
    path
        Its file.
    iommu
        Whether there is an IOMMU.
    """

    address: str
    number: int
    path: Path
    iommu: bool

    def others(self, root: Path = Path("/")) -> list[tuple[str, str]]:
        """The other functions in it that have a driver that keeps them, with the name of that."""
        members = root / "sys/kernel/iommu_groups" / str(self.number) / "devices"
        found = [
            (path.name, _driver(path)) for path in sorted(members.glob("*")) if path.name != self.address
        ]
        return [
            (name, driver) for name, driver in found if driver not in ("", DRIVER, "pcieport", "pci-stub")
        ]


def find_group(address: str, root: Path = Path("/")) -> Group:
    """The group of the function at ``address``, as in ``0000:01:00.0``; :class:`VfioError`.

    ``root`` is where ``/sys`` and ``/dev`` are.
    """
    if not ADDRESS.fullmatch(address):
        raise VfioError(f"a card is named by its PCI address, as in 0000:01:00.0, not {address!r}")
    function = root / "sys/bus/pci/devices" / address
    if not function.exists():
        raise VfioError(f"there is no PCI function {address}; lspci -D lists those that there are")
    if (driver := _driver(function)) != DRIVER:
        state = f"it is bound to {driver}" if driver else "it has no driver"
        raise VfioError(f"bind {address} to {DRIVER} first, {state}; {BINDING}")
    link = function / "iommu_group"
    if not link.exists():
        raise VfioError(
            f"{address} is in no IOMMU group; turn the IOMMU on (intel_iommu=on, amd_iommu=on), or allow "
            f"VFIO to do without, and bind the card again; {BINDING}"
        )
    number = int(link.resolve().name)
    files = {root / "dev/vfio" / str(number): True, root / "dev/vfio" / f"noiommu-{number}": False}
    for path, iommu in files.items():
        if path.exists():
            return Group(address, number, path, iommu)
    raise VfioError(
        f"there is no {next(iter(files))}; load the module {DRIVER}, or give this container /dev/vfio"
    )


def _driver(function: Path) -> str:
    link = function / "driver"
    return link.resolve().name if link.exists() else ""
