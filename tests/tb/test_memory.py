import pytest
from cocotbext.virtio.memory import Arena, HostMemory, Violation
from hypothesis import given, settings
from hypothesis import strategies as st

LOW, HIGH = 0x1000, 0x1_0000_0000


def make(seed=0, size=0x1000):
    return HostMemory([Arena(LOW, bytearray(size)), Arena(HIGH, bytearray(size))], seed=seed)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300), st.sampled_from([1, 2, 16, 64, 256]), st.integers(0, 63), st.booleans()
        ),
        max_size=30,
    ),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_buffers_lie_apart_and_where_they_were_wanted(wanted, seed):
    memory, live = make(seed), []
    for size, align, offset, keep in wanted:
        try:
            buffer = memory.alloc(size, align=align, offset=offset)
        except MemoryError:
            continue
        assert (buffer.address - offset) % align == 0
        for other in live:
            apart = buffer.address + max(size, 1) <= other.address
            assert apart or other.address + max(other.size, 1) <= buffer.address
        if keep:
            live.append(buffer)
        else:
            buffer.free()
    for buffer in live:
        buffer.free()
    assert [arena.free for arena in memory.arenas] == [[(0, 0x1000)], [(0, 0x1000)]]


def test_both_arenas_are_used():
    memory = make()
    addresses = [memory.alloc(8).address for _ in range(40)]
    assert min(addresses) < HIGH <= max(addresses)


def test_a_buffer_ends_below_where_it_is_said():
    memory = make()
    addresses = [memory.alloc(16, below=HIGH + 0x40).address for _ in range(0x100)]
    assert max(addresses) == HIGH + 0x30
    assert len([address for address in addresses if address >= HIGH]) == 4


def test_a_buffer_is_zero_when_it_is_allocated():
    memory = make(size=64)
    for _ in range(4):
        buffer = memory.alloc(64)
        assert buffer.read() == bytes(64)
        buffer.write(b"\xff" * 64)
        buffer.free()


def test_memory_runs_out():
    memory = make(size=64)
    for _ in range(2):
        memory.alloc(64)
    with pytest.raises(MemoryError, match="no 1 bytes of host memory left"):
        memory.alloc(1)


def test_forgetting_gives_everything_back():
    memory = make(size=64)
    for _ in range(2):
        buffer = memory.alloc(64)
        memory.grant(buffer.address, 64, readable=True)
    memory.forget()
    assert memory.grants == []
    memory.alloc(64)


def test_a_buffer_is_not_read_or_written_beyond_its_end():
    buffer = make().alloc(8)
    buffer.write(b"abcd", 4)
    assert (buffer.read(4), buffer.read(5, 2)) == (b"abcd", b"bc")
    with pytest.raises(ValueError, match="4 bytes at 5 are not inside a buffer of 8"):
        buffer.write(b"abcd", 5)
    with pytest.raises(ValueError, match="9 bytes at 0 are not inside a buffer of 8"):
        buffer.read(0, 9)


def test_there_is_no_memory_between_the_arenas():
    with pytest.raises(ValueError, match="no host memory at 0x1fff"):
        make().read(0x1FFF, 2)


@pytest.mark.parametrize(
    ("address", "length", "write", "allowed"),
    [
        (0x100, 16, False, True),
        (0x104, 4, False, True),
        (0x100, 17, False, False),
        (0xFF, 2, False, False),
        (0x100, 4, True, False),
        (0x110, 16, True, False),
        (0x120, 8, True, True),
        (0x120, 8, False, False),
        (0x128, 16, False, True),
        (0x130, 0, True, True),
    ],
)
def test_an_access_needs_a_grant_for_every_byte(address, length, write, allowed):
    memory = make()
    memory.grant(0x100, 16, readable=True)
    memory.grant(0x120, 8, writable=True)
    memory.grant(0x128, 8, readable=True)
    memory.grant(0x130, 8, readable=True, writable=True)
    assert memory.check(address, length, write=write) is allowed
    assert memory.violations == ([] if allowed else [Violation(address, length, write)])


def test_a_grant_ends():
    memory = make()
    with memory.granted(LOW, 4, writable=True):
        memory.device_write(LOW, b"abcd")
    memory.device_write(LOW, b"efgh")
    grant = memory.grant(LOW, 4, readable=True)
    assert memory.device_read(LOW, 4) == b"efgh"
    memory.revoke(grant)
    memory.device_read(LOW, 4)
    assert [str(v) for v in memory.violations] == [
        "device wrote 4 bytes at 0x1000, which the driver did not expose",
        "device read 4 bytes at 0x1000, which the driver did not expose",
    ]
