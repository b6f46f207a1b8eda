import pytest
from virtio_sim.guest import newc

ENTRIES = [
    newc.directory("bin"),
    newc.file("bin/tool", b"#!/bin/sh\n", executable=True),
    newc.file("etc.conf", b"12345"),
    newc.link("bin/other", "tool"),
    newc.device("console", 5, 1),
]


def test_an_archive_reads_back_as_what_was_put_in(read_newc):
    assert read_newc(newc.archive(ENTRIES)) == [
        ("bin", 0o040755, b"", (0, 0)),
        ("bin/tool", 0o100755, b"#!/bin/sh\n", (0, 0)),
        ("etc.conf", 0o100644, b"12345", (0, 0)),
        ("bin/other", 0o120777, b"tool", (0, 0)),
        ("console", 0o020600, b"", (5, 1)),
    ]


def test_a_file_has_these_very_bytes():
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    words = "00000001 000081a4 00000000 00000000 00000001 00000000 00000002"
    words += " 00000000 00000000 00000000 00000000 00000002 00000000"
    start = b"070701" + words.replace(" ", "").encode() + b"a\0" + b"hi\0\0"
    assert newc.archive([newc.file("a", b"hi")]).startswith(start + b"070701")


def test_equal_entries_make_equal_archives_that_are_aligned():
    assert newc.archive(ENTRIES) == newc.archive(ENTRIES)
    assert len(newc.archive(ENTRIES)) % 4 == 0


def test_an_absolute_name_is_refused():
    with pytest.raises(ValueError, match="^/bin does not fit into an archive$"):
        newc.archive([newc.directory("/bin")])
