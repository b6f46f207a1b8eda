"""Python for a guest, with the kit: compiled here, as a simulated processor would take minutes for it."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .artifacts import LIBRARIES, PYTHON, ArtifactError, Prefix

__all__ = ["interpreter"]

HOME = f"usr/lib/{PYTHON}"
#: Of the packages that are installed here, what the kit needs beside its own.
PACKAGES = ("amaranth", "jschon", "rfc3986", "scapy")
OWN = ("virtio_spec", "virtio_models", "cocotbext.virtio", "virtio_sim")
#: What nobody asks for, and is large.
LEFT_OUT = ("__pycache__", "sitecustomize.py", "test", "pydoc_data", "ensurepip", "contrib", "mutation")
#: Extension modules with what they need, and what the interpreter needs.
DYNAMIC = ("_ctypes", "_contextvars", "_hashlib", "mmap", "_queue", "resource", "termios")
SHARED = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libz.so.1", "libexpat.so.1", "libffi.so.8")


def interpreter(python: Prefix, directory: Path) -> dict[str, bytes]:
    """Files by their path in the guest: ``usr/bin/python3`` and what it imports.

    ``directory`` is for scratch.
    """
    tree = directory / "python"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(python.path / HOME, tree, ignore=shutil.ignore_patterns(*LEFT_OUT, "lib-dynload"))
    for name in (*PACKAGES, *OWN):
        _copy_package(name, tree)
    command = [*python.command(f"usr/bin/{PYTHON}"), "-m", "compileall", "-q", "-b", str(tree)]
    result = subprocess.run(
        command, env={"PYTHONHOME": str(python.path / "usr")}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ArtifactError(f"the guest's Python does not compile the kit: {result.stdout.strip()[-500:]}")
    files = dict(_files(tree))
    for name in SHARED:
        files[f"{LIBRARIES}/{name}"] = (python.path / LIBRARIES / name).read_bytes()
    for name in DYNAMIC:
        (path,) = (python.path / HOME / "lib-dynload").glob(f"{name}.*.so")
        files[f"{HOME}/lib-dynload/{path.name}"] = path.read_bytes()
    files["lib64/ld-linux-x86-64.so.2"] = files[f"{LIBRARIES}/ld-linux-x86-64.so.2"]
    files["usr/bin/python3"] = (python.path / f"usr/bin/{PYTHON}").read_bytes()
    shutil.rmtree(tree)
    return files


def _copy_package(name: str, tree: Path) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ArtifactError(f"the guest needs the package {name}, and it is not installed here")
    source = Path(next(iter(spec.submodule_search_locations)))
    shutil.copytree(source, tree.joinpath(*name.split(".")), ignore=shutil.ignore_patterns(*LEFT_OUT))


def _files(tree: Path) -> Iterator[tuple[str, bytes]]:
    """All but sources that were compiled."""
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not (path.suffix == ".py" and path.with_suffix(".pyc").is_file()):
            yield f"{HOME}/{path.relative_to(tree)}", path.read_bytes()
