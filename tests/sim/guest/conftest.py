import stat

import pytest


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Makes programs that stand in for the host's; nothing else is on PATH but the shell's own words."""
    directory = tmp_path / "tools"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))

    def make(name, script):
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def _parse(archive):
    """A reader written from the kernel's description of the format."""
    found, offset = [], 0
    while True:
        header = archive[offset : offset + 110]
        assert header[:6] == b"070701"
        fields = [int(header[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        mode, size, major, minor, name_size = fields[1], fields[6], fields[9], fields[10], fields[11]
        name = archive[offset + 110 : offset + 110 + name_size]
        assert name.endswith(b"\0")
        data = (offset + 110 + name_size + 3) & ~3
        offset = (data + size + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert offset == len(archive)
            return found
        found.append((name[:-1].decode(), mode, archive[data : data + size], (major, minor)))


@pytest.fixture
def read_newc():
    """Entries of a newc archive: name, mode, content, device numbers."""
    return _parse
