"""Modules of a kernel: which a driver needs, in the order in which they are loaded."""

import lzma
import re
from collections.abc import Iterable
from pathlib import Path

from .artifacts import ArtifactError

__all__ = ["dependencies", "load_order"]


def load_order(modules: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """``wanted`` modules and what they depend on, uncompressed, dependencies first.

    ``modules`` is ``/lib/modules/RELEASE`` of the kernel. What is built in is left out.
    """
    files = {_name(path): path for path in modules.glob("kernel/**/*.ko*")}
    listed = modules / "modules.builtin"
    if not listed.is_file():
        raise ArtifactError(f"the kernel in {modules.name} does not list what it has built in")
    built_in = {_name(Path(line)) for line in listed.read_text().splitlines()}
    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in order or name in built_in:
            return
        if name not in files:
            raise ArtifactError(f"the kernel in {modules.name} has no module {name}")
        content = _content(files[name])
        for needed in dependencies(content):
            add(needed)
        order[name] = content

    for name in wanted:
        add(name)
    return order


def dependencies(module: bytes) -> list[str]:
    """Modules that the ``.modinfo`` section of one names."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in match[1].decode().split(",") if name] if match else []


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".ko":
        return content
    raise ArtifactError(f"module {path.name} is compressed in a way that is not known here")
