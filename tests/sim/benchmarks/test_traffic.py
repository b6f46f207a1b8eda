"""Packets sorted by what they are for, and rates that are counted from them."""

import pytest
from helpers.tlp import completion, memory_read, memory_write
from virtio_sim.benchmarks.traffic import Kind, Traffic

MEMORY = range(0x10_0000, 0x20_0000)
DATA, HEADER = range(0x11_0000, 0x12_0000), range(0x13_0000, 0x13_1000)
TO_HOST, TO_DEVICE = True, False


@pytest.fixture
def traffic():
    return Traffic(MEMORY, [(HEADER, Kind.HEADER), (DATA, Kind.DATA)])


def kinds(traffic):
    return [packet.kind for packet in traffic.packets]


def test_the_address_says_what_a_request_of_the_device_is_for(traffic):
    for address in (DATA.start, DATA.stop - 4, DATA.stop, HEADER.start, MEMORY.stop):
        traffic.add(TO_HOST, 0, memory_write(address, [1]))
    assert kinds(traffic) == [Kind.DATA, Kind.DATA, Kind.RINGS, Kind.HEADER, Kind.MESSAGE]


def test_a_completion_is_for_what_its_read_is_for(traffic):
    traffic.add(TO_HOST, 0, memory_read(DATA.start, 2, tag=1))
    traffic.add(TO_HOST, 0, memory_read(MEMORY.start, 2, tag=2))
    traffic.add(TO_DEVICE, 5, completion([1, 2], tag=2))
    traffic.add(TO_DEVICE, 6, completion([1, 2], tag=1))
    traffic.add(TO_DEVICE, 7, memory_write(0xE000_0000, [1]))
    assert kinds(traffic) == [Kind.DATA, Kind.RINGS, Kind.RINGS, Kind.DATA, Kind.HOST]


def test_bytes_on_the_wire_are_header_data_framing_and_lcrc(traffic):
    traffic.add(TO_HOST, 0, memory_write(DATA.start, range(16)))
    traffic.add(TO_HOST, 0, memory_read(DATA.start, 16))
    traffic.add(TO_HOST, 0, memory_read(1 << 32, 16, wide=True))
    assert [(packet.wire, packet.payload) for packet in traffic.packets] == [(84, 64), (20, 0), (24, 0)]


def test_a_rate_is_counted_between_the_ends_of_two_packets_with_data(traffic):
    # 64 bytes every 10 cycles, but for the first; between them others that do not count
    for cycle in (0, 50, 60, 70, 80):
        traffic.add(TO_HOST, cycle, memory_write(DATA.start, range(16)))
        traffic.add(TO_HOST, cycle + 1, memory_write(MEMORY.start, range(16)))
    assert traffic.rate(to_host=True) == 6.4
    assert traffic.rate(to_host=True, settled=0) == 4 * 64 / 80


def test_requests_for_reads_are_no_data(traffic):
    for tag, cycle in enumerate((0, 1, 2)):
        traffic.add(TO_HOST, cycle, memory_read(DATA.start, 16, tag=tag))
    for tag, cycle in enumerate((10, 14, 18)):
        traffic.add(TO_DEVICE, cycle, completion(range(16), tag=tag))
    assert traffic.data(to_host=True) == []
    assert traffic.rate(to_host=False, settled=0) == 16.0


def test_a_delay_is_counted_from_the_kick(traffic):
    traffic.add(TO_DEVICE, 100, memory_write(0xE000_0000, [1]))
    traffic.add(TO_HOST, 115, memory_read(MEMORY.start, 1))
    assert traffic.delay(lambda packet: packet.to_host) == 15
