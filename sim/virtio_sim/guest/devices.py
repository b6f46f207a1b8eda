"""Devices under test, and who provides them.

A row of the table names a :class:`Device`; a :class:`Provider` puts one behind a root port of the guest.
QEMU's own devices are :class:`QemuProvider`; an endpoint behind a vfio-user socket is another provider.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cocotbext.virtio.backends.qtest_bench import ALL_RINGS

from ..cosim.qemu import vfio_user

__all__ = [
    "PEER_PORT",
    "ROOT_PORT",
    "Device",
    "DeviceError",
    "Provider",
    "QemuProvider",
    "ServedProvider",
    "model_provider",
    "rtl_provider",
]

KINDS = ("rng", "blk", "net")
INTERFACES = ("modern", "transitional", "legacy")
RINGS = ("split", "packed")

#: Buses that the device under test is put on, and a device beside it.
ROOT_PORT, PEER_PORT = "port0", "port1"

#: Seconds that a server has until its socket is there, and until it has ended.
START, STOP = 300.0, 30.0


class DeviceError(Exception):
    """A device did not come up or did not end well; the message holds what its server said last."""


@dataclass(frozen=True)
class Device:
    """What a row wants: ``kind``, ``interface`` of registers, layout of the ``ring``, number of ``queues``.

    A net is two of them, which are connected with each other, and has pairs of queues. With ``iommu`` there
    is one in front of it, which a provider need not know of unless its device has to be told.
    """

    kind: str
    interface: str = "modern"
    ring: str = "split"
    queues: int = 1
    iommu: bool = field(default=False, compare=False)

    def __post_init__(self):
        for value, known in ((self.kind, KINDS), (self.interface, INTERFACES), (self.ring, RINGS)):
            if value not in known:
                raise ValueError(f"{value} is none of {', '.join(known)}")

    def __str__(self) -> str:
        extra = [word for word in (self.interface, self.ring) if word not in ("modern", "split")]
        extra += [f"{self.queues} queues"] if self.queues > 1 else []
        return " ".join([self.kind, *extra])

    @property
    def buses(self) -> tuple[str, ...]:
        """Where the devices are put."""
        return (ROOT_PORT, PEER_PORT) if self.kind == "net" else (ROOT_PORT,)


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
        """All but legacy-only ones, which in QEMU are conventional PCI, without function level reset.

        Its hub, which connects two network devices, has one pair of queues.
        """
        return device.interface != "legacy" and not (device.kind == "net" and device.queues > 1)

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
        if self._device.iommu:
            options = f"bus={bus},disable-legacy=on,{ALL_RINGS},iommu_platform=on"
        if self._device.kind == "rng":
            backend = ["-object", f"rng-builtin,id=noise-{bus}"]
            return [*backend, "-device", f"virtio-rng-pci,rng=noise-{bus},{options}"]
        if self._device.kind == "net":
            backend = ["-netdev", f"hubport,id=net-{bus},hubid=0"]
            return [*backend, "-device", f"virtio-net-pci,netdev=net-{bus},romfile=,{options}"]
        options += f",num-queues={self._device.queues}"
        file = str(self._image).replace(",", ",,")
        drive = f"if=none,id=disk-{bus},format=raw,cache=writeback,file={file}"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive=disk-{bus},{options}"]

    def stop(self) -> None:
        """Nothing runs outside of QEMU."""
        self._device = self._image = None


class ServedProvider:
    """Devices behind vfio-user sockets, each served by a process that is started for it.

    Parameters
    ----------
    name
        For the report.
    command
        How to serve a device with an image (or none) at a socket; it ends with status 0 on SIGTERM, and
        what was flushed is in the image then. Two that are connected have their sockets in one directory.
    devices
        What there is.
    """

    arguments: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        command: Callable[[Device, Path | None, Path], Sequence[str]],
        devices: Sequence[Device],
    ):
        self.name = name
        self._command, self._devices = command, tuple(devices)
        self._processes: list[tuple[subprocess.Popen[bytes], Any]] = []  # with what each says
        self._sockets: Path | None = None

    def offers(self, device: Device) -> bool:
        """Whether it is among those named."""
        return device in self._devices

    def start(self, device: Device, *, image: Path | None, directory: Path) -> None:
        """Start the servers and wait for their sockets, whose paths have to be short."""
        self._sockets = Path(tempfile.mkdtemp(prefix="guest-"))
        for bus in device.buses:
            log = (directory / f"{'device' if bus == ROOT_PORT else 'peer'}.log").open("w+")
            command = list(self._command(device, image, self._socket(bus)))
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            self._processes.append((process, log))
        until = time.monotonic() + START
        for bus, (process, log) in zip(device.buses, self._processes, strict=True):
            while not self._socket(bus).is_socket():
                if process.poll() is not None:
                    raise DeviceError(f"the device's server did not start: {_last_word(log)}")
                if time.monotonic() > until:
                    raise DeviceError(f"the device's server has no socket after {START:.0f} s")
                time.sleep(0.05)  # no event tells of a socket in a directory

    def qemu_arguments(self, bus: str) -> list[str]:
        """The client of the socket."""
        return vfio_user(bus, self._socket(bus))

    def stop(self) -> None:
        """Ask the servers to end, and see that they do."""
        processes, self._processes = self._processes, []
        wrong = [sentence for process, log in processes if (sentence := _ended(process, log))]
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        if wrong:
            raise DeviceError(wrong[0])

    def _socket(self, bus: str) -> Path:
        if self._sockets is None:
            raise RuntimeError("no device was started")
        return self._sockets / bus


def _ended(process: subprocess.Popen[bytes], log: Any) -> str:
    """End a server; what was wrong with that."""
    with log:
        early = process.poll() is not None
        process.terminate()
        try:
            status = process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"the device's server did not end in {STOP:.0f} s"
        return f"the device's server ended with {status}: {_last_word(log)}" if early or status else ""


def _last_word(log: Any) -> str:
    log.flush()
    said = Path(log.name).read_text(errors="replace").strip().splitlines()
    return said[-1] if said else "it said nothing"


def model_provider() -> ServedProvider:
    """The reference model behind the vfio-user server: the way to the guest without a simulator."""

    def command(device: Device, image: Path | None, socket: Path) -> list[str]:
        module = ["-m", "virtio_sim.guest.model", device.kind, device.interface, str(socket)]
        return [sys.executable, *module, *([str(image)] if image is not None else [])]

    kinds, interfaces = ("rng", "blk"), ("modern", "transitional")
    devices = [Device(kind, interface) for kind in kinds for interface in interfaces]
    return ServedProvider("model", command, devices)


def rtl_provider() -> ServedProvider:
    """The endpoint itself, compiled and served by ``virtio-endpoint cosim`` as it is for users."""

    def command(device: Device, image: Path | None, socket: Path) -> list[str]:
        words = ["cosim", "--device", device.kind, "--interface", device.interface, "--socket", str(socket)]
        words += ["--image", str(image)] if image is not None else []
        words += ["--no-packed"] if device.ring == "split" else []
        words += ["--queues", str(device.queues)] if device.queues > 1 else []
        words += ["--wire", str(socket.with_name("wire"))] if device.kind == "net" else []
        return [sys.executable, "-m", "virtio_sim.cli", *words]

    devices = [Device(kind, interface) for kind in ("rng", "blk") for interface in INTERFACES]
    devices += [Device(kind, ring="packed") for kind in ("rng", "blk")]
    devices += [
        Device(kind, ring=ring, queues=queues)
        for kind, most in (("blk", 4), ("net", 2))
        for ring in RINGS
        for queues in {1, most}
    ]
    return ServedProvider("rtl", command, devices)
