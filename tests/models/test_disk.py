import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtio_models.disk import DISCARDED, Disk, DiskError

SECTOR = 512


def sector(byte: int) -> bytes:
    return bytes([byte]) * SECTOR


def test_a_new_disk_is_zero():
    disk = Disk(3)
    assert disk.capacity == 3
    assert disk.read(0, 3) == bytes(3 * SECTOR)


def test_an_image_is_its_content():
    disk = Disk(sector(1) + sector(2))
    assert (disk.capacity, disk.read(1, 1)) == (2, sector(2))


def test_an_image_has_whole_sectors():
    with pytest.raises(ValueError, match="a disk image is a multiple of 512 bytes, not 513"):
        Disk(bytes(513))


def test_a_write_is_visible_at_once_and_durable_after_a_flush():
    disk = Disk(4)
    disk.write(1, sector(7) + sector(8))
    assert disk.read(1, 2) == sector(7) + sector(8)
    assert disk.durable(0, 4) == bytes(4 * SECTOR)
    assert disk.unflushed == {1, 2}
    disk.flush()
    assert disk.durable(1, 2) == sector(7) + sector(8)
    assert disk.unflushed == frozenset()


def test_a_loss_of_power_goes_back_to_the_last_flush():
    disk = Disk(2)
    disk.write(0, sector(1))
    disk.flush()
    disk.write(0, sector(2))
    disk.write(0, sector(3))
    disk.lose_power()
    assert disk.read(0, 2) == sector(1) + sector(0)


@pytest.mark.parametrize(("first", "count"), [(4, 1), (3, 2), (2**64 - 1, 1), (-1, 1)])
def test_beyond_the_end_there_is_nothing(first, count):
    disk = Disk(4)
    with pytest.raises(DiskError):
        disk.read(first, count)
    with pytest.raises(DiskError):
        disk.write(first, bytes(count * SECTOR))
    assert disk.counts == {"read": 1, "write": 1}


def test_a_write_has_whole_sectors():
    with pytest.raises(ValueError, match="a write is a multiple of 512 bytes, not 5"):
        Disk(4).write(0, bytes(5))


def test_a_fault_fails_what_touches_it_until_it_is_healed():
    disk = Disk(8)
    disk.fail(3, 2)
    for first, count in ((3, 1), (4, 4), (0, 4)):
        with pytest.raises(DiskError):
            disk.read(first, count)
    with pytest.raises(DiskError):
        disk.write(2, sector(1) * 2)
    assert disk.read(0, 3) + disk.read(5, 3) == bytes(6 * SECTOR)
    disk.heal()
    assert disk.read(0, 8) == bytes(8 * SECTOR)


def test_a_fault_may_concern_one_direction():
    disk = Disk(2)
    disk.fail(0, write=False)
    disk.write(0, sector(5))
    with pytest.raises(DiskError):
        disk.read(0, 1)
    disk.heal()
    disk.fail(0, read=False)
    assert disk.read(0, 1) == sector(5)
    with pytest.raises(DiskError):
        disk.write(0, sector(6))


def test_a_flush_that_fails_makes_nothing_durable():
    disk = Disk(1)
    disk.write(0, sector(1))
    disk.flush_fails = True
    with pytest.raises(DiskError):
        disk.flush()
    assert disk.durable(0, 1) == sector(0)
    assert disk.counts["flush"] == 1


def test_a_change_of_capacity_is_told_and_keeps_what_fits():
    disk, heard = Disk(sector(1) + sector(2)), []
    disk.listeners.append(heard.append)
    disk.write(1, sector(3))
    disk.resize(1)
    disk.resize(3)
    assert heard == [1, 3]
    assert disk.read(0, 3) == sector(1) + bytes(2 * SECTOR)
    assert disk.unflushed == frozenset()


@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "flush", "power"]), st.integers(0, 5), st.integers(1, 255)),
        max_size=20,
    )
)
def test_durable_is_what_a_loss_of_power_leaves(operations):
    disk, seen, safe = Disk(6), [0] * 6, [0] * 6
    for what, number, byte in operations:
        if what == "write":
            disk.write(number, sector(byte))
            seen[number] = byte
        elif what == "flush":
            disk.flush()
            safe = list(seen)
        else:
            disk.lose_power()
            seen = list(safe)
        assert disk.read(0, 6) == b"".join(map(sector, seen))
        assert disk.durable(0, 6) == b"".join(map(sector, safe))


def test_zeros_and_discards_are_writes_that_can_be_lost():
    disk = Disk(b"a" * 2048)
    disk.write_zeroes(1, 1)
    disk.discard(2, 1)
    assert disk.data[512:1024] == bytes(512)
    assert disk.data[1024:1536] == DISCARDED
    assert disk.unflushed == {1, 2}
    disk.lose_power()
    assert disk.data == b"a" * 2048


@pytest.mark.parametrize("operation", ["discard", "write_zeroes"])
def test_zeros_and_discards_fail_where_a_write_does(operation):
    disk = Disk(bytes(2048))
    disk.fail(2, read=False)
    for sector, count in ((1, 2), (3, 2), (4, 2**31)):
        with pytest.raises(DiskError):
            getattr(disk, operation)(sector, count)
    assert disk.data == bytes(2048)
