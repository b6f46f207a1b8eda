"""The archive format of an initramfs: ``newc`` of cpio, as the kernel's ``buffer-format`` document has it."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Entry", "archive", "device", "directory", "file", "link"]

MAGIC = b"070701"
TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One thing in an archive: ``name`` without a leading slash, ``mode`` with its file type."""

    name: str
    mode: int
    content: bytes = b""
    major: int = 0
    minor: int = 0


def directory(name: str) -> Entry:
    """A directory; it has to come before what is in it."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, content: bytes, *, executable: bool = False) -> Entry:
    """A regular file."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), content)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def device(name: str, major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(name, stat.S_IFCHR | 0o600, b"", major, minor)


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries as one archive, owned by root, without times: equal entries make equal archives."""
    packed = bytearray()
    for number, entry in enumerate([*entries, Entry(TRAILER, 0)], start=1):
        if entry.name.startswith("/") or len(entry.content) >= 1 << 32:
            raise ValueError(f"{entry.name} does not fit into an archive")
        name = entry.name.encode() + b"\0"
        size, links = len(entry.content), 2 if stat.S_ISDIR(entry.mode) else 1
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        fields = (number, entry.mode, 0, 0, links, 0, size, 0, 0, entry.major, entry.minor, len(name), 0)
        packed += MAGIC + b"".join(b"%08x" % field for field in fields) + name
        packed += bytes(-len(packed) % 4)
        packed += entry.content
        packed += bytes(-len(packed) % 4)
    return bytes(packed)
