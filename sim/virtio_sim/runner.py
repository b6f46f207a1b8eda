"""Runs a cocotb test module in a built simulator, watches it, and collects what came out."""

import json
import os
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb_tools.config
import find_libpython

from .build import TOPLEVEL, locked

__all__ = ["Outcome", "events_file", "parameters", "report_event", "run"]

#: Environment variable with the run's parameters, as JSON.
PARAMETERS = "VIRTIO_SIM_PARAMETERS"
#: Environment variable with the file into which the test bench writes its events, one JSON object per line.
EVENTS = "VIRTIO_SIM_EVENTS"


@dataclass(frozen=True)
class Outcome:
    """What became of one simulator run.

    ``failures`` maps a cocotb test, or ``"simulator"``, to what went wrong; empty if all is well.
    ``replay`` is a command that runs the same again.
    """

    directory: Path
    log: Path
    failures: Mapping[str, str]
    events: tuple[dict[str, Any], ...]
    wall_s: float
    replay: str


def parameters() -> dict[str, Any]:
    """Inside the simulation: what :func:`run` was given."""
    return json.loads(os.environ[PARAMETERS])


def events_file() -> Path:
    """Inside the simulation: where events go."""
    return Path(os.environ[EVENTS])


def report_event(**event: Any) -> None:
    """Inside the simulation: tell the runner something, at once."""
    with events_file().open("a") as file:
        file.write(json.dumps(event) + "\n")


def run(
    executable: Path,
    module: str,
    *,
    directory: Path,
    arguments: Mapping[str, Any],
    deadline_s: float,
    top: str = TOPLEVEL,
    waves: bool = False,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Run the cocotb tests of ``module`` on ``top``; the simulator is killed after ``deadline_s`` seconds.

    Log, results and waves are left in ``directory``; another run in the same one waits until this one
    has ended. ``on_event`` is called with each event as the test bench reports it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        return _run(executable, module, directory, arguments, deadline_s, top, waves, on_event)


def _run(
    executable: Path,
    module: str,
    directory: Path,
    arguments: Mapping[str, Any],
    deadline_s: float,
    top: str,
    waves: bool,
    on_event: Callable[[dict[str, Any]], None] | None,
) -> Outcome:
    results, events, log = (directory / name for name in ("results.xml", "events.jsonl", "simulation.log"))
    for stale in (results, events):
        stale.unlink(missing_ok=True)
    events.touch()
    settings = _settings(top, module, results) | {
        PARAMETERS: json.dumps(dict(arguments)),
        EVENTS: str(events),
    }
    command = [str(executable), *(["--trace"] if waves else [])]
    replay = _replay_script(directory, command, settings)
    started = time.monotonic()
    seen: list[dict[str, Any]] = []
    problem = ""
    with log.open("w") as output, events.open() as stream:
        process = subprocess.Popen(
            command, cwd=directory, env={**os.environ, **settings}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            running = True
            while running:
                try:
                    process.wait(0.1)
                    running = False
                except subprocess.TimeoutExpired:
                    if time.monotonic() - started > deadline_s:
                        problem = f"killed after {deadline_s:g} s of real time"
                        process.kill()
                for line in stream:
                    seen.append(json.loads(line))
                    if on_event is not None:
                        on_event(seen[-1])
        finally:
            process.kill()
            process.wait()
    failures = _failures(results)
    if problem or (process.returncode and not failures):
        failures["simulator"] = problem or f"ended with code {process.returncode}, see {log}"
    return Outcome(directory, log, failures, tuple(seen), time.monotonic() - started, replay)


def _settings(top: str, module: str, results: Path) -> dict[str, str]:
    """Environment of a simulator with cocotb inside."""
    library = find_libpython.find_libpython()
    if library is None:
        raise FileNotFoundError("Python's shared library is missing; install libpython3-dev or python3-dev")
    return {
        "GPI_USERS": f"{library};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "TOPLEVEL_LANG": "verilog",
    }


def _replay_script(directory: Path, command: list[str], settings: Mapping[str, str]) -> str:
    script = directory / "replay.sh"
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(settings.items())]
    script.write_text(
        "\n".join(["#!/bin/sh", 'cd "$(dirname "$0")"', *exports, f"exec {shlex.join(command)}\n"])
    )
    return f"sh {os.path.relpath(script)}"


def _failures(results: Path) -> dict[str, str]:
    """Failed tests of a cocotb results file, with the message."""
    if not results.exists():
        return {"simulator": "left no results"}
    failed = {}
    for test in ElementTree.parse(results).iter("testcase"):
        for kind in ("failure", "error"):
            if (found := test.find(kind)) is not None:
                failed[test.get("name", "?")] = found.get("error_msg") or found.get("message") or kind
    return failed
