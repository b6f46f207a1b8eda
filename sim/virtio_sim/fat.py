"""FAT file system images as bytes: made, listed, written to and compared, outside of any simulation."""

import io
import random
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from virtio_spec.blk import SECTOR_BYTES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pyfatfs stands on a package that still uses pkg_resources
    from pyfatfs.PyFat import PyFat
    from pyfatfs.PyFatFS import PyFatBytesIOFS

__all__ = ["ImageError", "add_file", "changed_sectors", "differences", "files", "make_image"]


class ImageError(Exception):
    """The image holds no FAT file system, or no room."""


class _Kept(io.BytesIO):
    """Closing the file system closes its file; the content stays."""

    kept = b""

    def close(self) -> None:
        self.kept = self.kept or self.getvalue()
        super().close()


@contextmanager
def _mounted(image: bytes) -> Iterator[tuple[Any, _Kept]]:
    file = _Kept(image)
    try:
        mounted = PyFatBytesIOFS(file)
    except Exception as error:  # of many kinds, on content that makes no sense
        raise ImageError(f"no FAT file system in the image ({error})") from None
    try:
        yield mounted, file
    finally:
        mounted.close()


def make_image(size: int, *, seed: int = 0) -> bytes:
    """A FAT12 image of ``size`` bytes with some directories and files, their content by ``seed``."""
    rng = random.Random(f"image {seed}")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        path.touch()
        maker = PyFat()
        maker.mkfs(str(path), fat_type=PyFat.FAT_TYPE_FAT12, size=size, label="VIRTIO", volume_id=seed + 1)
        maker.close()
        empty = path.read_bytes()
    with _mounted(empty) as (fs, file):
        for name in ("/logs", "/data", "/data/empty"):
            fs.makedir(name)
        lines = [f"{rng.random():.9f} event {rng.randrange(1000)}\n" for _ in range(400)]
        fs.writebytes("/README.TXT", b"An image that goes through virtio-blk.\n")
        fs.writebytes("/logs/A rather long file name.log", "".join(lines).encode())
        for number in range(4):
            fs.writebytes(f"/data/{number}.bin", rng.randbytes(rng.randrange(1, size // 16)))
        fs.writebytes("/data/none.bin", b"")
    return file.kept


def files(image: bytes) -> dict[str, bytes]:
    """Path to content of every file; a directory is a path that ends in ``/``, without content."""
    with _mounted(image) as (fs, _):
        found = {path: fs.readbytes(path) for path in fs.walk.files("/")}
        return found | {f"{path}/": b"" for path in fs.walk.dirs("/")}


def add_file(image: bytes, path: str, content: bytes) -> bytes:
    """The image with one more file; :class:`ImageError` if there is no room."""
    with _mounted(image) as (fs, file):
        try:
            fs.writebytes(path, content)
        except Exception as error:  # pyfatfs has no common base for its errors
            raise ImageError(f"{path} cannot be written ({error})") from None
    if len(file.kept) != len(image):  # pyfatfs also uses entries of the table that no sector stands behind
        raise ImageError(f"{path} cannot be written (no room for {len(content)} bytes)")
    return file.kept


def changed_sectors(old: bytes, new: bytes) -> list[tuple[int, bytes]]:
    """Runs of sectors in which ``new`` differs: first sector and new content of each."""
    runs: list[tuple[int, bytes]] = []
    for start in range(0, len(new), SECTOR_BYTES):
        sector = new[start : start + SECTOR_BYTES]
        if sector == old[start : start + SECTOR_BYTES]:
            continue
        if runs and runs[-1][0] * SECTOR_BYTES + len(runs[-1][1]) == start:
            runs[-1] = (runs[-1][0], runs[-1][1] + sector)
        else:
            runs.append((start // SECTOR_BYTES, sector))
    return runs


def differences(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    """What is wrong with the files found, one sentence each."""
    wrong = [f"{path} is missing" for path in sorted(expected.keys() - found.keys())]
    wrong += [f"{path} should not be there" for path in sorted(found.keys() - expected.keys())]
    for path in sorted(expected.keys() & found.keys()):
        want, have = expected[path], found[path]
        if len(want) != len(have):
            wrong.append(f"{path} has {len(have)} bytes instead of {len(want)}")
        elif want != have:
            first = next(i for i, (a, b) in enumerate(zip(want, have, strict=True)) if a != b)
            wrong.append(f"{path} differs from byte {first} on")
    return wrong
