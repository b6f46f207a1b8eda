"""Memory that is shared with another process: what that has written is found by comparing."""

import pytest
from cocotbext.virtio.backends.shared_memory import SharedMemory

BASE, SIZE = 0x1000_0000, 1 << 16


@pytest.fixture
def shared():
    store = bytearray(SIZE)
    return store, SharedMemory({BASE: store})


def test_what_the_device_writes_where_it_may_is_no_violation(shared):
    store, memory = shared
    buffer = memory.alloc(64)
    memory.grant(buffer.address, 64, writable=True)
    at = buffer.address - BASE
    store[at : at + 64] = bytes(range(1, 65))
    memory.look()
    assert memory.violations == []


@pytest.mark.parametrize("writable", [False, True])
def test_what_the_device_writes_elsewhere_is_found_once(shared, writable):
    store, memory = shared
    buffer = memory.alloc(64)
    memory.grant(buffer.address, 32, readable=True, writable=writable)
    at = buffer.address - BASE + (32 if writable else 0)
    store[at : at + 3] = b"abc"
    memory.look()
    memory.look(everywhere=True)
    assert [(found.address, found.length, found.write) for found in memory.violations] == [
        (BASE + at, 3, True)
    ]


def test_what_the_driver_writes_is_its_own_affair(shared):
    _, memory = shared
    memory.alloc(64).write(b"content")
    memory.look(everywhere=True)
    assert memory.violations == []


def test_a_write_beyond_all_that_the_driver_ever_had_is_found_by_looking_everywhere(shared):
    store, memory = shared
    memory.alloc(64)
    store[SIZE - 1] = 1
    memory.look()
    assert memory.violations == []
    memory.look(everywhere=True)
    assert [found.address for found in memory.violations] == [BASE + SIZE - 1]


def test_what_came_before_a_grant_was_taken_back_was_allowed(shared):
    store, memory = shared
    buffer = memory.alloc(16)
    grant = memory.grant(buffer.address, 16, writable=True)
    store[buffer.address - BASE] = 7
    memory.revoke(grant)
    memory.look()
    assert memory.violations == []
    store[buffer.address - BASE] = 8
    memory.forget()
    assert len(memory.violations) == 1
