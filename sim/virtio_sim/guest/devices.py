"""Devices under test, and who provides them.

A row of the table names a :class:`Device`; a :class:`Provider` puts one behind a root port of the guest. QEMU's
own devices are :class:`QemuProvider`; an endpoint behind a vfio-user socket is another provider.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Device", "Provider", "QemuProvider"]

KINDS = ("rng", "blk")
INTERFACES = ("modern", "transitional")
RINGS = ("split", "packed")


@dataclass(frozen=True)
class Device:
    """What a row wants: ``kind`` of device, ``interface`` of its registers, layout of its ``ring``."""

    kind: str
    interface: str = "modern"
    ring: str = "split"

    def __post_init__(self):
        for value, known in ((self.kind, KINDS), (self.interface, INTERFACES), (self.ring, RINGS)):
            if value not in known:
                raise ValueError(f"{value} is none of {', '.join(known)}")

    def __str__(self) -> str:
        extra = [word for word in (self.interface, self.ring) if word not in ("modern", "split")]
        return " ".join([self.kind, *extra])


class Provider(Protocol):
    """Puts devices into guests. One device is started at a time; ``stop`` always follows ``start``."""

    @property
    def name(self) -> str:
        """What stands in the report."""
        ...

    @property
    def arguments(self) -> Sequence[str]:
        """What the machine as a whole needs on QEMU's command line, ``-icount`` for example."""
        ...

    def offers(self, device: Device) -> bool:
        """Whether there is such a device; rows with others are left out."""
        ...

    def start(self, device: Device, *, image: Path | None, directory: Path) -> None:
        """Bring the device up before QEMU is started.

        ``image`` is the disk of blk; what the guest flushed is in that file after :meth:`stop`.
        ``directory`` is there for sockets and logs.
        """
        ...

    def qemu_arguments(self, bus: str) -> list[str]:
        """Command line that puts the device behind the port ``bus``."""
        ...

    def stop(self) -> None:
        """End everything that ``start`` began; called after QEMU has ended, however that was."""
        ...


class QemuProvider:
    """QEMU's own virtio devices, the golden peers."""

    name = "qemu"
    arguments: Sequence[str] = ()

    def __init__(self):
        self._device: Device | None = None
        self._image: Path | None = None

    def offers(self, device: Device) -> bool:
        """All there are."""
        return True

    def start(self, device: Device, *, image: Path | None, directory: Path) -> None:
        """Remember what is wanted: the device is in QEMU."""
        if (device.kind == "blk") != (image is not None):
            raise ValueError(f"{device.kind} with image {image}")
        self._device, self._image = device, image

    def qemu_arguments(self, bus: str) -> list[str]:
        """The device and its backend."""
        if self._device is None:
            raise RuntimeError("no device was started")
        legacy = "off" if self._device.interface == "transitional" else "on"
        packed = "on" if self._device.ring == "packed" else "off"
        options = f"bus={bus},disable-legacy={legacy},disable-modern=off,packed={packed}"
        if self._device.kind == "rng":
            backend = ["-object", "rng-builtin,id=noise"]
            return [*backend, "-device", f"virtio-rng-pci,rng=noise,{options}"]
        file = str(self._image).replace(",", ",,")
        drive = f"if=none,id=disk,format=raw,cache=writeback,file={file}"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive=disk,{options}"]

    def stop(self) -> None:
        """Nothing runs outside of QEMU."""
        self._device = self._image = None
