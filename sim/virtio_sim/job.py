"""The main job: build the endpoint, do real work through it in simulation, and look at the outcome."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import fat
from .build import BuildError, build_root, simulator
from .config import ConfigError, Configuration
from .hdl import generate
from .report import TestResult
from .runner import Outcome, run

__all__ = ["Job", "Listener"]

#: Steps that are told how many bytes they are to move.
STREAMED = {"rng": ("rng: entropy", 64 * 1024), "net": ("net: echo", 64 * 1024)}
IMAGE_BYTES = 1024 * 1024
NEW_FILE = "/written through virtio-blk.bin"
NEW_FILE_BYTES = 20_000

#: Called with a phase ("build", "rng: entropy", …), bytes done and bytes in all (0: unknown).
Listener = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """Work for one device.

    Parameters
    ----------
    configuration
        The endpoint.
    seed
        For everything random.
    image
        Disk image for blk, by default one that is made by ``seed``.
    waves
        Whether to record all signals.
    """

    configuration: Configuration
    seed: int = 1
    image: bytes | None = None
    waves: bool = False

    def run(self, listener: Listener) -> tuple[list[TestResult], Outcome | None]:
        """Build, simulate, compare; results in order, and the simulator run if it came to that."""
        name = self.configuration.name
        started = time.monotonic()
        listener(f"{self.configuration.device}: build", 0, 0)
        try:
            executable = simulator(generate(self.configuration), name=name, waves=self.waves)
        except BuildError as error:
            wall = round(time.monotonic() - started, 3)
            failed = TestResult(
                f"{self.configuration.device}: build", "failed", wall_s=wall, message=str(error)
            )
            return [failed], None
        directory = build_root() / "sim" / name
        arguments: dict[str, Any] = {"configuration": self.configuration.as_dict(), "seed": self.seed}
        if self.configuration.device in STREAMED:
            step, size = STREAMED[self.configuration.device]
            return self._simulate(executable, directory, arguments | {"bytes": size}, {step: size}, listener)
        if self.configuration.device == "vmmci":
            return self._simulate(executable, directory, arguments, {}, listener)
        image = fat.make_image(IMAGE_BYTES, seed=self.seed) if self.image is None else self.image
        arguments |= self._prepare(directory, image)
        sizes = {"blk: read the image": len(image), "blk: write a file": arguments["file_bytes"]}
        results, outcome = self._simulate(executable, directory, arguments, sizes, listener)
        if all(result.status == "passed" for result in results):
            results.append(self._compare(image, arguments))
        return results, outcome

    def _prepare(self, directory: Path, image: bytes) -> dict[str, Any]:
        """Files for the simulation; the image is checked to be a FAT file system with room for a file."""
        path = NEW_FILE
        try:
            while path in fat.files(image):
                path = path.replace(".bin", " again.bin")
            fat.add_file(image, path, bytes(NEW_FILE_BYTES))
        except fat.ImageError as error:
            raise ConfigError(f"the image is of no use: {error}") from None
        directory.mkdir(parents=True, exist_ok=True)
        before, after = directory / "before.img", directory / "after.img"
        before.write_bytes(image)
        after.unlink(missing_ok=True)
        return {"image": str(before), "result": str(after), "file": path, "file_bytes": NEW_FILE_BYTES}

    def _simulate(
        self,
        executable: Path,
        directory: Path,
        arguments: dict[str, Any],
        sizes: dict[str, int],
        listener: Listener,
    ) -> tuple[list[TestResult], Outcome]:
        def on_event(event: dict[str, Any]) -> None:
            if "progress" in event:
                listener(event["progress"], event["done"], sizes.get(event["progress"], 0))

        listener(f"{self.configuration.device}: enumeration", 0, 0)
        outcome = run(
            executable,
            "virtio_sim.sim_bench",
            directory=directory,
            arguments=arguments,
            deadline_s=600 + sum(sizes.values()) / 10_000,
            waves=self.waves,
            on_event=on_event,
        )
        results = [TestResult(**event["result"]) for event in outcome.events if "result" in event]
        if outcome.failures and all(result.status == "passed" for result in results):
            message = "; ".join(outcome.failures.values())
            failed = f"{self.configuration.device}: simulation"
            results.append(TestResult(failed, "failed", wall_s=round(outcome.wall_s, 3), message=message))
        return results, outcome

    def _compare(self, image: bytes, arguments: dict[str, Any]) -> TestResult:
        """Open the disk as the device left it, and look at every file."""
        started = time.monotonic()
        content = random.Random(f"file {self.seed}").randbytes(arguments["file_bytes"])
        expected = fat.files(image) | {arguments["file"]: content}
        try:
            wrong = fat.differences(expected, fat.files(Path(arguments["result"]).read_bytes()))
        except (OSError, fat.ImageError) as error:
            wrong = [str(error)]
        return TestResult(
            name="blk: compare files",
            status="failed" if wrong else "passed",
            wall_s=round(time.monotonic() - started, 3),
            bytes=sum(map(len, expected.values())),
            message="; ".join(wrong[:5]),
        )
