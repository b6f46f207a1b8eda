"""Packets that cases inject, and what they make of the host's completions, against hand-made ones."""

from types import SimpleNamespace

import pytest
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.suite import faults
from cocotbext.virtio.suite.link import Read
from cocotbext.virtio.suite.packets import DIGEST, POISONED, Injector, completion, raw_link
from helpers.tlp import atomic, config, io, memory_read, memory_write, message
from helpers.tlp import completion as host_completion
from virtio_spec.tlp import TlpType

HOST, DEVICE = 0x00FF, 0x0100
LOW, HIGH = 0xC000_0004, 0x12_3400_0008


@pytest.fixture
def bench():
    bench = model_bench("rng", seed=1)
    bench.link = SimpleNamespace(requester_id=HOST, function_id=DEVICE, tamper=None, lost=lambda read: None)
    return bench


PACKETS = {
    "read": (lambda i: i.read(LOW, 2), lambda **f: memory_read(LOW, 2, **f)),
    "64-bit read": (
        lambda i: i.read(HIGH, 1024, last_be=7),
        lambda **f: memory_read(HIGH, 1024, last_be=7, **f),
    ),
    "write": (
        lambda i: i.write(LOW, [1, 2], first_be=8, bits=POISONED | DIGEST),
        lambda **f: memory_write(LOW, [1, 2], first_be=8, ep=True, td=True, **f),
    ),
    "64-bit write": (lambda i: i.write(HIGH, [5]), lambda **f: memory_write(HIGH, [5], **f)),
    "I/O write": (lambda i: i.request(TlpType.IO, 0x80, [7]), lambda **f: io(0x80, 7, **f)),
    "CAS": (
        lambda i: i.request(TlpType.COMPARE_AND_SWAP, LOW, [1, 2]),
        lambda **f: atomic(0b01110, LOW, [1, 2], **f),
    ),
    "configuration read": (lambda i: i.config(0x40), lambda **f: config(0x10, target=DEVICE, **f)),
    "configuration write": (
        lambda i: i.config(4, 6, function=3, first_be=1),
        lambda **f: config(1, 6, target=DEVICE | 3, first_be=1, **f),
    ),
    "message": (
        lambda i: i.message(0x50, [9], routing=4),
        lambda **f: message(0x50, [9], routing=4, **f),
    ),
}


@pytest.mark.parametrize(("made", "expected"), PACKETS.values(), ids=PACKETS.keys())
def test_injected_packets_are_those_of_the_standard(bench, made, expected):
    packet = made(Injector(bench))
    assert packet == expected(requester=HOST, tag=packet[1] >> 8 & 0xFF)


def test_requests_have_tags_of_their_own(bench):
    injector = Injector(bench)
    assert len({injector.read(LOW)[1] >> 8 & 0xFF for _ in range(256)}) == 256


def test_completions_for_the_device_are_those_of_the_standard(bench):
    made = completion(bench.link, 9, [1, 2], byte_count=8)
    assert made == host_completion([1, 2], byte_count=8, requester=DEVICE, tag=9)
    made = completion(bench.link, 9, status=4)
    assert made == host_completion(status=4, requester=DEVICE, tag=9)


GOOD = {"byte_count": 8, "lower_address": 4, "requester": DEVICE, "tag": 9, "tc": 1, "attr": 2}
CHANGES = {
    "status": (faults.with_status(4), host_completion(status=4, **GOOD)),
    "poison": (faults.poisoned, host_completion([1, 2], ep=True, **GOOD)),
    "byte count": (faults.wrong_byte_count, host_completion([1, 2], **GOOD | {"byte_count": 12})),
    "lower address": (faults.wrong_lower_address, host_completion([1, 2], **GOOD | {"lower_address": 8})),
    "no data": (faults.without_data, host_completion(**GOOD)),
    "too long": (faults.too_long, host_completion([1, 2, 0, 0], **GOOD)),
    "tag": (faults.stray, host_completion([1, 2], **GOOD | {"tag": 0xFF})),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_changes_what_it_says_and_nothing_else(change, expected):
    assert change(host_completion([1, 2], **GOOD)) == expected


def test_a_fault_spoils_the_first_read_of_its_place_only(bench):
    fault = faults.Fault(bench, 0x1000, 64, faults.poisoned)
    good, spoilt = host_completion([1, 2], **GOOD), host_completion([1, 2], ep=True, **GOOD)
    before, first, again = Read(9, 0xFF0, 16), Read(9, 0x103F, 2), Read(9, 0x1000, 4)
    assert fault(before, good) == [good]
    assert fault(first, good) == [spoilt]
    assert fault(first, good) == []
    assert fault(again, good) == [good]
    assert (fault.read, fault.kept) == (first, [good])


def test_a_case_that_needs_raw_packets_says_where_there_are_none():
    with pytest.raises(LookupError, match="^the backend model has no raw packets$"):
        raw_link(model_bench("rng", seed=1))
