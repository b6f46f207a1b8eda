"""Boot every row of the table and ask its questions.

One row is one boot. A check that fails does not stop the row; a guest that is lost does, and the checks
that were not reached have failed.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifacts import Artifacts, Kernel
from .checks import DISK_BYTES, ROWS, Check, CheckFailed, Context, Figures, Row
from .console import ConsoleError
from .devices import PEER_PORT, ROOT_PORT, DeviceError, Provider, QemuProvider
from .image import RootImage, data_image, initramfs
from .interpreter import interpreter
from .machine import Guest, GuestError, complaints
from .program import load_program
from .report import Result

__all__ = ["Rig", "rows_of"]

#: Seconds until the agent must have spoken.
BOOT_DEADLINE = 180.0
#: Of a guest that gives its device to a program: its IOMMU, and what drives that.
IOMMU = ("-device", "intel-iommu,intremap=on,caching-mode=on")
VFIO = ("vfio_iommu_type1", "vfio_pci")

Say = Callable[[str], None]


def rows_of(provider: Provider, wanted: str = "") -> list[Row]:
    """Rows whose name has all the words of ``wanted`` and whose device the provider offers.

    QEMU's devices are not put beside themselves.
    """
    words = wanted.split()
    return [
        row
        for row in ROWS
        if provider.offers(row.device)
        and not (row.peer and provider.name == QemuProvider.name)
        and all(word in row.name.split() for word in words)
    ]


@dataclass
class Rig:
    """Boots guests with the devices of one provider.

    Parameters
    ----------
    directory : everything made is below it, one directory for each boot.
    say : gets a line for every step.
    """

    artifacts: Artifacts
    provider: Provider
    directory: Path
    seed: int = 1
    say: Say = print

    def run(self, rows: Sequence[Row]) -> list[Result]:
        """All ``rows`` on all kernels."""
        results: list[Result] = []
        boots = [
            (kernel, row)
            for kernel in self.artifacts.kernels.values()
            for row in rows
            if not row.kernels or kernel.series in row.kernels
        ]
        for number, (kernel, row) in enumerate(boots, start=1):
            self.say(f"[{number}/{len(boots)}] {kernel.series} {self.provider.name} {row.name}")
            results += self.boot(kernel, row)
        return results

    def boot(self, kernel: Kernel, row: Row) -> list[Result]:
        """One boot and its checks."""
        label = re.sub(r"\W+", "-", f"{kernel.series} {self.provider.name} {row.name}")
        directory = self.directory / label
        directory.mkdir(parents=True, exist_ok=True)
        context = self._context(row, directory)
        collected = _Collected(self, kernel, row)
        try:
            try:
                self.provider.start(row.device, image=context.image, directory=directory)
                self._inside(kernel, row, context, collected)
            finally:
                self.provider.stop()
        except (DeviceError, GuestError, ConsoleError, OSError) as error:
            collected.lost(str(error))
        for check in row.checks:
            if not check.script:
                collected.add(check.name, lambda check=check: check.outside(context))
        return collected.results

    def _context(self, row: Row, directory: Path) -> Context:
        context = Context(row, directory, provider=self.provider.name)
        if row.device.kind != "blk":
            return context
        context.image = directory / "disk.img"
        if row.root:
            context.root = RootImage(self.artifacts.prefix, context.image)
            context.root.make(self.artifacts, self._programs(), seed=self.seed)
        else:
            context.disk = data_image(context.image, seed=self.seed, size=DISK_BYTES)
        return context

    def _programs(self) -> dict[str, bytes]:
        return {"load": load_program(self.directory)}

    def _inside(self, kernel: Kernel, row: Row, context: Context, collected: "_Collected") -> None:
        initrd = context.directory / "initramfs.gz"
        more = self._kit(context.directory) if row.device.iommu else {}
        initrd.write_bytes(initramfs(self.artifacts, kernel, self._programs(), **more))
        guest = Guest(
            self.artifacts.prefix,
            kernel,
            initrd,
            directory=context.directory,
            append=row.append,
            platform=IOMMU if row.device.iommu else (),
            device=self.provider.qemu_arguments(ROOT_PORT),
            extra=[*self.provider.arguments, *self._peer(row, context)],
            cpus=row.device.queues,
        )
        noise = [check.noise for check in row.checks if check.noise]
        with guest:
            collected.add("boot", lambda: self._up(guest, row), fatal=True)
            for check in row.checks:
                if check.script:
                    collected.add(
                        check.name, lambda check=check: self._ask(guest, check, context), peer=check.peer
                    )
            match row.end:
                case "killed":
                    collected.add("QEMU killed", lambda: self._ended(guest, guest.kill, noise))
                case "panic":
                    collected.add("panic", lambda: self._ended(guest, guest.panic, [*noise, "."]))
                case _:
                    collected.add("switch off", lambda: self._ended(guest, guest.off, noise))

    def _kit(self, directory: Path) -> dict[str, Any]:
        """What the guest needs to run the kit on its device."""
        assert self.artifacts.python is not None
        return {"modules": VFIO, "files": interpreter(self.artifacts.python, directory)}

    def _peer(self, row: Row, context: Context) -> list[str]:
        """What is beside the device, behind a port of its own: another one like it, or QEMU's own."""
        port = ["-device", f"pcie-root-port,id={PEER_PORT},chassis=2,slot=2"]
        if PEER_PORT in row.device.buses:
            return [*port, *self.provider.qemu_arguments(PEER_PORT)]
        if not row.peer:
            return []
        image = None
        if row.device.kind == "blk":
            image = context.directory / "peer.img"
            data_image(image, seed=self.seed, size=DISK_BYTES)
        peer = QemuProvider()
        peer.start(row.device, image=image, directory=context.directory)
        return [*port, *peer.qemu_arguments(PEER_PORT)]

    def _up(self, guest: Guest, row: Row) -> Figures:
        facts, seconds = guest.up(BOOT_DEADLINE)
        if (facts.get("root") == "root") != row.root:
            raise CheckFailed(f"the root file system is on {facts.get('root')}")
        return {"boot_s": round(seconds, 2)}

    @staticmethod
    def _ask(guest: Guest, check: Check, context: Context) -> Figures:
        try:
            arguments = (*check.arguments, *check.more(context))
            answer = guest.console.run(check.script, *arguments, deadline=check.deadline)
        except ConsoleError as error:
            raise GuestError(f"{error}; {guest.last_words()}") from None
        if answer.failures or answer.status:
            said = answer.failures or answer.said[-1:] or ["and said nothing"]
            raise CheckFailed(f"{check.script}.sh ended with {answer.status}: {said[0]}")
        try:
            return check.judge(context, answer)
        except KeyError as missing:
            raise CheckFailed(f"{check.script}.sh did not tell {missing}") from None

    @staticmethod
    def _ended(guest: Guest, end: Callable[[], None], noise: Sequence[str]) -> Figures:
        end()
        wrong = [
            line for line in complaints(guest.kernel_log) if not any(re.search(part, line) for part in noise)
        ]
        if wrong:
            raise CheckFailed(f"the kernel complained {len(wrong)} times, first: {wrong[0]}")
        return {}


class _Collected:
    """Results of one boot; once the guest is lost, what should have happened in it has failed."""

    def __init__(self, rig: Rig, kernel: Kernel, row: Row):
        self._rig, self._kernel, self._row = rig, kernel, row
        self._lost = ""
        self.results: list[Result] = []

    def lost(self, why: str) -> None:
        """Nothing more can be asked of the guest; or this, too, went wrong at its end."""
        self._lost = self._lost or why
        self._keep("guest", "failed", 0.0, {}, why)

    def add(self, name: str, what: Callable[[], Figures], *, fatal: bool = False, peer: bool = False) -> None:
        """Do it, take the time, keep what came of it."""
        if self._lost:
            self._keep(name, "failed", 0.0, {}, "not reached, the guest was lost", peer=peer)
            return
        start = time.monotonic()
        figures: Figures = {}
        status, message = "passed", ""
        try:
            figures = what()
        except CheckFailed as error:
            status, message = "failed", str(error)
            self._lost = message if fatal else ""
        except (ConsoleError, GuestError) as error:
            status, message = "failed", str(error)
            self._lost = message
        self._keep(name, status, time.monotonic() - start, figures, message, peer=peer)

    def _keep(
        self, name: str, status: str, seconds: float, figures: Figures, message: str, *, peer: bool = False
    ) -> None:
        kernel, row = self._kernel.series, self._row.name
        provider = QemuProvider.name if peer else self._rig.provider.name
        self.results.append(Result(kernel, provider, row, name, status, round(seconds, 3), figures, message))
        told = ", ".join(f"{key} {value:,}" for key, value in figures.items())
        whose = f" of {provider}'s" if peer else ""
        self._rig.say(
            f"    {status} {seconds:6.1f} s  {name}{whose}{': ' if message or told else ''}{message or told}"
        )
