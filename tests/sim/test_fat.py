import pytest
from virtio_sim import fat

SIZE = 1 << 20


def test_an_image_has_directories_and_files_that_depend_on_the_seed_only():
    image = fat.make_image(SIZE, seed=3)
    found = fat.files(image)
    assert len(image) == SIZE
    assert found == fat.files(fat.make_image(SIZE, seed=3))
    assert found != fat.files(fat.make_image(SIZE, seed=4))
    assert {"/logs/", "/data/empty/", "/data/none.bin", "/logs/A rather long file name.log"} <= found.keys()


def test_an_added_file_is_there_and_the_others_are_as_before():
    image = fat.make_image(SIZE)
    more = fat.add_file(image, "/new file.bin", b"\x01" * 5000)
    assert fat.files(more) == fat.files(image) | {"/new file.bin": b"\x01" * 5000}


def test_the_changed_sectors_make_the_new_image_of_the_old():
    old = fat.make_image(SIZE)
    new = fat.add_file(old, "/new file.bin", bytes(range(256)) * 20)
    patched = bytearray(old)
    changes = fat.changed_sectors(old, new)
    for sector, content in changes:
        patched[512 * sector : 512 * sector + len(content)] = content
    assert bytes(patched) == new
    assert 0 < sum(len(content) for _, content in changes) < SIZE // 8


def test_runs_of_changed_sectors_are_joined():
    old = bytes(512 * 6)
    new = bytes(512) + b"\x01" * 1024 + bytes(512) + b"\x02" * 512 + bytes(512)
    assert fat.changed_sectors(old, new) == [(1, b"\x01" * 1024), (4, b"\x02" * 512)]


def test_a_changed_byte_in_a_file_is_found():
    image = bytearray(fat.make_image(SIZE))
    expected = fat.files(bytes(image))
    content = expected["/data/1.bin"]
    position = bytes(image).index(content[:512]) + 300
    image[position] ^= 0x10
    assert fat.differences(expected, fat.files(bytes(image))) == ["/data/1.bin differs from byte 300 on"]


def test_missing_additional_and_short_files_are_found():
    expected = {"/a": b"1", "/b": b"22", "/d/": b""}
    assert fat.differences(expected, {"/b": b"2", "/c": b""}) == [
        "/a is missing",
        "/d/ is missing",
        "/c should not be there",
        "/b has 1 bytes instead of 2",
    ]
    assert fat.differences(expected, dict(expected)) == []


@pytest.mark.parametrize("image", [bytes(SIZE), b"", b"\xff" * 1024], ids=["zeros", "empty", "ones"])
def test_an_image_without_a_file_system_is_an_error(image):
    with pytest.raises(fat.ImageError, match="no FAT file system in the image"):
        fat.files(image)


def test_a_file_that_does_not_fit_is_an_error():
    with pytest.raises(fat.ImageError, match="/large cannot be written"):
        fat.add_file(fat.make_image(SIZE), "/large", bytes(SIZE))
