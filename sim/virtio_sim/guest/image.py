"""What a guest boots from: an initramfs, and an ext4 file system whose every byte is known beforehand."""

import gzip
import hashlib
import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from . import newc
from .artifacts import Artifacts, Kernel, Prefix
from .modules import load_order

__all__ = ["ImageError", "RootImage", "applets", "contents", "data_image", "initramfs", "scripts"]

#: Drivers that a guest may need; what a kernel has built in is left out.
MODULES = ("virtio_pci", "virtio_rng", "virtio_blk", "virtio_net", "ext4")

SCRIPTS = Path(__file__).with_name("scripts")
DIRECTORIES = ("bin", "checks", "dev", "lib", "mnt", "proc", "sys", "tmp")

#: Sizes in bytes around every boundary that a file system and a block device have.
FILE_SIZES = (0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 100_003, 262_144, 1_048_577)

MIB = 1 << 20
UUID = "5ca1ab1e-0000-4000-8000-766972746971"


class ImageError(Exception):
    """A file system cannot be made, or is not as it must be."""


def scripts() -> dict[str, bytes]:
    """What runs in the guest, by name."""
    return {path.name: path.read_bytes() for path in sorted(SCRIPTS.glob("*.sh"))}


def applets(busybox: Path) -> list[str]:
    """Names that a busybox answers to."""
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name != "busybox"]


def initramfs(
    artifacts: Artifacts,
    kernel: Kernel,
    programs: Mapping[str, bytes],
    *,
    modules: Sequence[str] = (),
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """Busybox, the drivers as modules in their order, the scripts and further static ``programs``.

    ``modules`` are further drivers, ``files`` further programs and what they need, by their path.
    """
    drivers = load_order(kernel.modules, (*MODULES, *modules))
    entries = [newc.directory(name) for name in DIRECTORIES]
    entries.append(newc.device("dev/console", 5, 1))
    entries.append(newc.file("bin/busybox", artifacts.busybox.read_bytes(), executable=True))
    entries += [newc.link(f"bin/{name}", "busybox") for name in applets(artifacts.busybox)]
    entries += [newc.file(f"bin/{name}", program, executable=True) for name, program in programs.items()]
    entries += [newc.file(f"lib/{name}.ko", content) for name, content in drivers.items()]
    entries.append(newc.file("lib/order", "".join(f"{name}\n" for name in drivers).encode()))
    parents = {str(parent) for name in files for parent in list(PurePosixPath(name).parents)[:-1]}
    entries += [newc.directory(name) for name in sorted(parents.difference(DIRECTORIES))]
    entries += [newc.file(name, content, executable=True) for name, content in files.items()]
    for name, content in scripts().items():
        entries.append(newc.file("init" if name == "init.sh" else f"checks/{name}", content, executable=True))
    return gzip.compress(newc.archive(entries), compresslevel=1, mtime=0)


def contents(seed: int) -> dict[str, bytes]:
    """Files by their path in the image, made from ``seed``."""
    generator = random.Random(f"guest {seed}")
    return {f"files/{size:07d}.bin": generator.randbytes(size) for size in FILE_SIZES}


def data_image(path: Path, *, seed: int, size: int) -> bytes:
    """A disk of ``size`` bytes without a file system; returns what is on it."""
    content = random.Random(f"disk {seed}").randbytes(size)
    path.write_bytes(content)
    return content


@dataclass
class RootImage:
    """An ext4 image that a guest boots from; ``files`` are what it holds, by path, apart from programs."""

    prefix: Prefix
    path: Path
    size: int = 32 * MIB
    files: dict[str, bytes] = field(default_factory=dict)

    def make(self, artifacts: Artifacts, programs: Mapping[str, bytes], *, seed: int) -> None:
        """Write the image: busybox, scripts, ``programs``, and :func:`contents` with their checksums."""
        self.files = contents(seed)
        tree = self.path.with_suffix(".tree")
        shutil.rmtree(tree, ignore_errors=True)
        for name in (*DIRECTORIES, "files", "work"):
            (tree / name).mkdir(parents=True)
        for name, content in {"busybox": artifacts.busybox.read_bytes(), **programs}.items():
            (tree / "bin" / name).write_bytes(content)
            (tree / "bin" / name).chmod(0o755)
        for name in applets(artifacts.busybox):
            (tree / "bin" / name).symlink_to("busybox")
        for name, content in scripts().items():
            (tree / "checks" / name).write_bytes(content)
            (tree / "checks" / name).chmod(0o755)
        for name, content in self.files.items():
            (tree / name).write_bytes(content)
        sums = "".join(
            f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in self.files.items()
        )
        (tree / "sums").write_text(sums)
        self.path.unlink(missing_ok=True)
        options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-U", UUID, "-L", "guest"]
        extended = f"root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed={UUID}"
        size = f"{self.size // 1024}k"
        self._run("mke2fs", *options, "-E", extended, "-d", str(tree), str(self.path), size)
        shutil.rmtree(tree)

    def check(self) -> None:
        """Raise :class:`ImageError` unless ``e2fsck`` finds nothing at all to say about the image."""
        self._run("e2fsck", "-f", "-n", str(self.path))

    def recover(self) -> None:
        """Replay the journal, as after a crash; damage beyond that is an :class:`ImageError`."""
        self._run("e2fsck", "-p", str(self.path), allowed=(0, 1))
        self.check()

    def read(self, directory: Path) -> dict[str, bytes]:
        """All files below ``/files`` and ``/work`` as they stand in the image.

        ``directory`` is for scratch, and removed.
        """
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        commands = directory / "commands"
        commands.write_text(f"rdump /files {directory}\nrdump /work {directory}\n")
        said = self._run("debugfs", "-f", str(commands), str(self.path))
        commands.unlink()
        # It repeats the commands, and may not give files to root if it is not run by root.
        complaints = [
            line
            for line in said.splitlines()
            if line and not line.startswith("debugfs") and "changing ownership" not in line
        ]
        found = [path for path in sorted(directory.rglob("*")) if path.is_file()]
        files = {str(path.relative_to(directory)): path.read_bytes() for path in found}
        shutil.rmtree(directory)
        if complaints:
            raise ImageError(f"debugfs cannot read the image: {complaints[0]}")
        return files

    def _run(self, tool: str, *arguments: str, allowed: Sequence[int] = (0,)) -> str:
        # Time stands still, so that equal contents make equal images.
        environment = {**self.prefix.environment, "SOURCE_DATE_EPOCH": "1700000000", "LC_ALL": "C"}
        command = [*self.prefix.command(f"usr/sbin/{tool}"), *arguments]
        result = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode not in allowed:
            raise ImageError(
                f"{tool} ended with {result.returncode}: {' / '.join(result.stdout.split(chr(10)))}"
            )
        return result.stdout
