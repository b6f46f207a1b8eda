"""The host in the shared library, above a device that sends back whatever it gets."""

import mmap

import pytest
from helpers.native import echo_library
from helpers.tlp import completion, memory_read, memory_write, message, parse
from virtio_sim.native.library import Event, LinkModel, NativeEndpoint

WIDTHS = [64, 128, 256]
BASE, WIDE = 0x10_0000, 0x12_0000_0000
SIZE = 1 << 16
INJECTOR = 0x00FF
ASSERT, DEASSERT = 0x20, 0x24
SENDER = {"requester": INJECTOR, "tag": 0x5A}
PATIENCE = 10_000


def echo(width=64, **link):
    return NativeEndpoint(echo_library(width), link=LinkModel(**link))


@pytest.fixture
def memory():
    return bytearray((7 * n + n // 256) & 0xFF for n in range(SIZE))


def answers(device):
    """All that come until nothing moves any more."""
    device.run(PATIENCE, stop_at=Event.QUIET, quiet=300)
    found = []
    while packet := device.answer():
        found.append(packet)
    return found


def content(packet):
    """Bytes of a completion that were asked for and left when it came, from its own first one on."""
    skip = packet.lower_address & 3
    data = b"".join(dword.to_bytes(4, "little") for dword in packet.payload)
    return data[skip : skip + packet.byte_count]


def read(device, address, length, first_be=15, last_be=None, **fields):
    """The completions of one read of the device, in the order in which they came."""
    wide = address >= 1 << 32
    be = {} if last_be is None else {"last_be": last_be}
    device.inject(memory_read(address, length, first_be=first_be, wide=wide, **be, **(SENDER | fields)))
    return [parse(packet) for packet in answers(device)]


# -- framing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", [0, 500, 900])
@pytest.mark.parametrize("width", WIDTHS)
def test_packets_of_every_length_pass_in_order_and_whole(width, stall):
    packets = [memory_write(BASE, range(1, n + 1), **SENDER) for n in (*range(1, 20), 31, 32)]
    with echo(width, stall=stall, seed=3) as device:
        device.log(True)
        for packet in packets:
            device.inject(packet)
        device.run(PATIENCE, stop_at=Event.QUIET, quiet=50)
        seen = device.packets()
        assert [dwords for from_device, _, dwords in seen if not from_device] == packets
        assert [dwords for from_device, _, dwords in seen if from_device] == packets
        assert [cycle for _, cycle, _ in seen] == sorted(cycle for _, cycle, _ in seen)
        assert device.findings() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_beat_takes_a_cycle_without_stalls(width):
    packet = memory_write(BASE, range(32), **SENDER)
    with echo(width) as device:
        device.log(True)
        for _ in range(4):
            device.inject(packet)
        device.run(PATIENCE, stop_at=Event.QUIET, quiet=50)
        taken = [cycle for from_device, cycle, _ in device.packets() if from_device]
        assert {later - cycle for cycle, later in zip(taken, taken[1:], strict=False)} == {
            -(-len(packet) * 32 // width)
        }


@pytest.mark.parametrize("width", WIDTHS)
def test_a_cut_packet_has_no_last_beat_and_is_not_told_as_one(width):
    whole = memory_write(BASE, range(16), **SENDER)
    with echo(width) as device:
        device.log(True)
        device.inject(whole, cut=True)
        device.inject(whole)
        device.run(PATIENCE, stop_at=Event.QUIET, quiet=50)
        assert [dwords for _, _, dwords in device.packets()] == [whole, whole]
        assert device.findings() == ["a packet starts inside another"]
        assert device.findings() == []


@pytest.mark.parametrize(
    ("packet", "finding"),
    [
        (memory_write(BASE, range(4))[:-1], "a packet that is not as long as its header says"),
        ([*memory_read(BASE), 1], "a packet that is not as long as its header says"),
        (memory_read(WIDE, wide=True)[:3], "a packet that is shorter than its header"),
        ([0x04000001, 0xF, 0], "a request that no root complex takes"),
    ],
)
def test_a_packet_of_the_device_that_is_wrong_is_found(packet, finding, memory):
    with echo() as device:
        device.map(BASE, memory, SIZE)
        before = bytes(memory)
        device.inject(packet)
        device.run(100)
        assert device.findings() == [finding]
        assert bytes(memory) == before


# -- completions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", [64, 128])
def test_completions_end_at_read_completion_boundaries_and_count_the_bytes_that_are_left(memory, boundary):
    """Trap 13: SPLIT-DEV-01."""
    sizes = set()
    with echo(seed=5, boundary=boundary) as device:
        device.map(WIDE, memory, SIZE)
        for offset in (0, 4, 60, 64, 124, 128, 1000):
            for length in (1, 2, 16, 17, 128):
                parts = read(device, WIDE + offset, length)
                position, left = WIDE + offset, 4 * length
                for number, part in enumerate(parts):
                    count = 4 * len(part.payload)
                    assert (part.status, part.tag, part.requester) == (0, 0x5A, INJECTOR)
                    assert (part.byte_count, part.lower_address) == (left, position & 0x7F)
                    start = position - WIDE
                    assert content(part)[:count] == memory[start : start + count]
                    position, left = position + count, left - count
                    assert position % boundary == 0 or number == len(parts) - 1
                    assert count <= 128
                    sizes.add(count)
                assert left == 0
    assert ({64, 128} if boundary == 64 else {128}) <= sizes


def test_completions_are_as_long_as_a_host_with_a_larger_payload_makes_them(memory):
    """256 bytes, and shorter ones only up to the next multiple of 256, and at the end."""
    with echo(seed=5, completion=256) as device:
        device.map(WIDE, memory, SIZE)
        for offset, length, expected in (
            (0, 128, [256, 256]),
            (64, 128, [192, 256, 64]),
            (252, 66, [4, 256, 4]),
            (128, 16, [64]),
        ):
            parts = read(device, WIDE + offset, length)
            assert [4 * len(part.payload) for part in parts] == expected
            assert b"".join(map(content, parts)) == memory[offset : offset + 4 * length]


@pytest.mark.parametrize(
    ("length", "first_be", "last_be", "skip", "count"),
    [
        (1, 0b0001, 0, 0, 1),
        (1, 0b0100, 0, 2, 1),
        (1, 0b0110, 0, 1, 2),
        (1, 0b1001, 0, 0, 4),
        (1, 0b0000, 0, 0, 1),
        (2, 0b1000, 0b0001, 3, 2),
        (2, 0b1100, 0b0111, 2, 5),
        (4, 0b1110, 0b0011, 1, 13),
    ],
)
def test_byte_enables_say_how_many_bytes_a_read_is_for(memory, length, first_be, last_be, skip, count):
    with echo() as device:
        device.map(BASE, memory, SIZE)
        (part,) = read(device, BASE + 32, length, first_be, last_be)
        assert (part.byte_count, part.lower_address) == (count, 32 + skip)
        assert content(part)[:count] == memory[32 + skip : 32 + skip + count]


@pytest.mark.parametrize("offset", [-4, SIZE - 4, SIZE])
def test_a_read_that_is_not_all_in_mapped_memory_is_unsupported(memory, offset):
    with echo() as device:
        device.map(BASE, memory, SIZE)
        (part,) = read(device, BASE + offset, 2)
        assert (part.status, part.payload, part.byte_count) == (1, [], 8)
        assert part.lower_address == (BASE + offset) & 0x7F


def test_a_completion_has_its_request_s_attributes_and_traffic_class(memory):
    with echo() as device:
        device.map(BASE, memory, SIZE)
        (part,) = read(device, BASE, 1, tc=5, attr=3)
        assert (part.tc, part.attr) == (5, 3)


def test_completions_of_different_reads_change_places_unless_told_not_to(memory):
    orders = {}
    for shuffle in (True, False):
        with echo(shuffle=shuffle, memory_latency=100, seed=1) as device:
            device.map(BASE, memory, SIZE)
            for tag in range(16):
                device.inject(memory_read(BASE + 256 * tag, 64, requester=INJECTOR, tag=tag))
            parts = [parse(packet) for packet in answers(device)]
            orders[shuffle] = [part.tag for part in parts]
            for tag in range(16):
                own = [part for part in parts if part.tag == tag]
                data = b"".join(content(part)[: 4 * len(part.payload)] for part in own)
                assert data == memory[256 * tag : 256 * tag + 256]
    assert orders[False] == sorted(orders[False])
    assert orders[True] != sorted(orders[True])


# -- writes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [BASE + 64, WIDE + 64])
@pytest.mark.parametrize(("first_be", "last_be"), [(15, 15), (0b1000, 0b0001), (0b1010, 0b0110), (0, 0b1000)])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_write_stores_the_enabled_bytes_and_no_other(memory, address, count, first_be, last_be):
    base, expected = address - 64, bytearray(memory)
    data = [0xA1B2C3D4 + 0x01010101 * n for n in range(count)]
    for n, dword in enumerate(data):
        enable = {0: first_be, count - 1: last_be}.get(n, 15)
        for byte in range(4):
            if enable >> byte & 1:
                expected[64 + 4 * n + byte] = dword >> 8 * byte & 0xFF
    with echo() as device:
        device.map(base, memory, SIZE)
        wide = address >= 1 << 32
        device.inject(memory_write(address, data, first_be=first_be, last_be=last_be, wide=wide))
        assert device.run(100, stop_at=Event.STORED) & Event.STORED
        assert (memory, device.lost_writes) == (expected, 0)


def test_a_write_that_is_enabled_only_inside_of_memory_reaches_it(memory):
    with echo() as device:
        device.map(BASE, memory, 6)
        device.inject(memory_write(BASE + 4, [0x44332211], first_be=0b0011))
        device.run(20)
        assert (memory[4:6], device.lost_writes) == (b"\x11\x22", 0)


def test_a_write_to_where_there_is_no_memory_is_lost_or_a_message(memory):
    before = bytes(memory)
    with echo() as device:
        device.map(BASE, memory, SIZE, writable=False)
        device.inject(memory_write(WIDE, [1, 2], wide=True))
        device.inject(memory_write(BASE, [1, 2]))
        device.inject(memory_write(0xFEE0_1000, [7], first_be=0b0001))
        device.run(50)
        assert (device.lost_writes, device.messages()) == (3, [])
        device.inject(memory_write(0xFEE0_1000, [0x4501]))
        device.inject(memory_write(0x1_FEE0_0000, [0xDEADBEEF], wide=True))
        assert device.run(50, stop_at=Event.MESSAGE) & Event.MESSAGE
        device.run(10)
        assert device.messages() == [(0xFEE0_1000, 0x4501), (0x1_FEE0_0000, 0xDEADBEEF)]
        assert (device.lost_writes, device.messages(), bytes(memory)) == (3, [], before)


def test_a_message_comes_behind_the_writes_before_it(memory):
    with echo(bytes_per_kilocycle=2000, latency=40) as device:
        device.map(BASE, memory, SIZE)
        device.inject(memory_write(BASE, [0x55AA55AA] * 32))
        device.inject(memory_write(0xFEE0_0000, [1]))
        assert device.run(PATIENCE, stop_at=Event.MESSAGE) & Event.MESSAGE
        assert memory[124:128] == b"\xaa\x55\xaa\x55"


def test_intx_follows_its_messages():
    with echo() as device:
        assert (device.intx, device.intx_asserted) == (False, 0)
        for number, code in enumerate((ASSERT, DEASSERT, ASSERT)):
            device.inject(message(code))
            assert device.run(20, stop_at=Event.MESSAGE) & Event.MESSAGE
            assert (device.intx, device.intx_asserted) == (code == ASSERT, 1 + number // 2)
        device.reset()
        assert not device.intx


# -- maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-1, 0, 1, SIZE - 1, 1 - SIZE])
def test_maps_do_not_overlap(memory, offset):
    with echo() as device:
        device.map(BASE + SIZE, memory, SIZE)
        with pytest.raises(ValueError, match=f"0x10000 bytes at {BASE + SIZE + offset:#x} overlap memory"):
            device.map(BASE + SIZE + offset, bytearray(SIZE), SIZE)
        device.map(BASE, bytearray(SIZE), SIZE)
        device.map(BASE + 2 * SIZE, bytearray(SIZE), SIZE)


def test_neighbours_are_one_to_the_device():
    low, high = bytearray(b"low."), bytearray(b"high")
    with echo() as device:
        device.map(WIDE, low, 4)
        device.map(WIDE + 4, high, 4)
        (part,) = read(device, WIDE, 2)
        assert content(part) == b"low.high"
        device.inject(memory_write(WIDE, [0x31313131, 0x32323232], wide=True))
        device.run(20)
        assert (low, high) == (b"1111", b"2222")


def test_unmapped_memory_is_not_touched_and_can_be_mapped_anew(memory):
    with echo() as device:
        device.map(BASE, memory, SIZE)
        device.unmap(BASE, SIZE)
        memory.append(0)  # a buffer that is still in use could not
        (part,) = read(device, BASE, 1)
        assert part.status == 1
        other = bytearray(b"else")
        device.map(BASE, other, 4)
        (part,) = read(device, BASE, 1)
        assert content(part) == b"else"


def test_what_the_device_may_not_write_can_be_read_only(tmp_path):
    path = tmp_path / "rom"
    path.write_bytes(bytes(range(256)) * 16)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ) as rom:
        with echo() as device:
            device.map(BASE, rom, 4096, writable=False)
            (part,) = read(device, BASE + 8, 1)
            assert content(part) == bytes([8, 9, 10, 11])
            with pytest.raises(BufferError):
                device.map(WIDE, rom, 4096)


def test_what_may_not_be_read_is_unsupported(memory):
    with echo() as device:
        device.map(BASE, memory, SIZE, readable=False)
        (part,) = read(device, BASE, 1)
        assert part.status == 1


def test_a_buffer_that_is_too_small_is_refused():
    with echo() as device:
        with pytest.raises(ValueError, match="a buffer of 4 bytes does not hold 8"):
            device.map(BASE, bytearray(4), 8)


# -- the link --------------------------------------------------------------------------------------------


def arrivals(device, packets):
    """Cycles, after the device sent the first one, in which writes arrive."""
    device.log(True)
    for packet in packets:
        device.inject(packet)
    found = []
    while len(found) < len(packets):
        assert device.run(PATIENCE, stop_at=Event.STORED) & Event.STORED
        found.append(device.cycles)
    first = next(cycle for from_device, cycle, _ in device.packets() if from_device)
    return [cycle - first for cycle in found]


def test_bandwidth_and_latency_are_as_worked_out_by_hand(memory):
    """28 bytes and 4 of framing, at 8 bytes per cycle: one every 4 cycles, and 10 on the way."""
    with echo(256, bytes_per_kilocycle=8000, packet_bytes=4, latency=10) as device:
        device.map(BASE, memory, SIZE)
        writes = [memory_write(BASE + 16 * n, range(4)) for n in range(20)]
        assert arrivals(device, writes) == [4 * n + 10 for n in range(1, 21)]


def test_bandwidth_counts_parts_of_a_cycle(memory):
    """16 bytes at 3 per cycle: 5 1/3 cycles each, 16 for three of them."""
    with echo(256, bytes_per_kilocycle=3000) as device:
        device.map(BASE, memory, SIZE)
        writes = [memory_write(BASE + 4 * n, [n]) for n in range(30)]
        assert arrivals(device, writes)[2::3] == [16 * n for n in range(1, 11)]


def test_without_a_limit_a_packet_arrives_at_once(memory):
    with echo(128) as device:
        device.map(BASE, memory, SIZE)
        assert arrivals(device, [memory_write(BASE + 4 * n, [n]) for n in range(5)]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("jitter", [0, 50])
def test_a_read_takes_the_way_there_the_memory_and_the_way_back(memory, jitter):
    """A cycle each to leave the device, at the host and at the device; 20 on each way; 100 in the memory."""
    taken = []
    with echo(128, latency=20, memory_latency=100, jitter=jitter, seed=2) as device:
        device.map(BASE, memory, SIZE)
        device.log(True)
        for _ in range(30):
            read(device, BASE, 1)
            (sent, got) = [(cycle, from_device) for from_device, cycle, _ in device.packets()][1:3]
            assert (sent[1], got[1]) == (True, False)
            taken.append(got[0] - sent[0])
    if jitter:
        assert 140 <= min(taken) < max(taken) <= 140 + jitter + 3
    else:
        assert set(taken) == {taken[0]}
        assert 140 <= taken[0] <= 143


def test_no_more_packets_are_on_the_way_than_there_are_credits(memory):
    """With a round of 50 cycles and 4 packets in it, the 5th leaves when the first has arrived."""
    with echo(256, latency=50, posted_credits=4) as device:
        device.map(BASE, memory, SIZE)
        times = arrivals(device, [memory_write(BASE + 4 * n, [n]) for n in range(12)])
        assert times[3] - times[0] == 3
        assert all(later - time >= 50 for time, later in zip(times, times[4:], strict=False))


def test_the_same_seed_gives_the_same_cycles_and_another_one_does_not(memory):
    def history(seed):
        with echo(64, stall=300, memory_latency=20, jitter=40, seed=seed) as device:
            device.map(BASE, memory, SIZE)
            device.log(True)
            for tag in range(20):
                device.inject(memory_read(BASE + 100 * tag & ~3, 40, requester=INJECTOR, tag=tag))
            answers(device)
            return device.packets(), device.cycles

    assert history(1) == history(1)
    assert history(1) != history(2)


# -- the rest --------------------------------------------------------------------------------------------


def test_quiet_is_when_nothing_has_moved_for_so_long(memory):
    with echo(latency=30, memory_latency=200) as device:
        device.map(BASE, memory, SIZE)
        start = device.cycles
        assert device.run(1000, stop_at=Event.QUIET, quiet=25) & Event.QUIET
        assert device.cycles - start <= 25
        device.inject(memory_read(BASE, 1, **SENDER))
        start = device.cycles
        # 30 there, 200 in the memory, 30 back, and 30 for the echo of the completion.
        assert device.run(1000, stop_at=Event.QUIET, quiet=25) & Event.QUIET
        assert 290 + 25 <= device.cycles - start <= 300 + 25
        assert device.answer()


def test_an_access_without_an_answer_ends():
    with NativeEndpoint(echo_library(64), timeout=50) as device:
        assert device.config_read(0, 4) == ("timeout", 0)
        assert device.config_write(0, 4, 1) == "timeout"


def test_a_reset_forgets_what_was_on_its_way(memory):
    with echo(latency=50) as device:
        device.map(BASE, memory, SIZE)
        device.inject(memory_read(BASE, 1, **SENDER))
        device.inject(memory_write(0xFEE0_0000, [1]))
        device.run(30)
        device.reset()
        assert device.run(500, stop_at=Event.QUIET, quiet=20) & Event.QUIET
        assert (device.answer(), device.messages()) == ([], [])


def test_completions_can_be_changed_on_their_way(memory):
    seen = []
    with echo() as device:
        device.map(BASE, memory, SIZE)

        def twice(packet):
            seen.append(packet)
            return [packet, completion([0x1234], requester=INJECTOR, tag=0x5A)]

        device.tamper(twice)
        first, second = read(device, BASE, 1)
        assert (content(first), second.payload) == (memory[:4], [0x1234])
        assert len(seen) == 1
        device.tamper(None)
        assert len(read(device, BASE, 1)) == 1


def test_what_a_callback_raises_comes_out_of_the_run(memory):
    with echo() as device:
        device.map(BASE, memory, SIZE)

        def refuse(packet):
            raise RuntimeError("not today")

        device.tamper(refuse)
        device.inject(memory_read(BASE, 1, **SENDER))
        with pytest.raises(RuntimeError, match="not today"):
            device.run(20)
        assert device.run(20) is not None


def test_waves_are_recorded_only_if_the_library_can(tmp_path):
    with NativeEndpoint(echo_library(64, waves=True)) as device:
        device.waves(tmp_path / "dump.vcd")
        device.inject(memory_write(BASE, [1]))
        device.run(10)
    dump = (tmp_path / "dump.vcd").read_text()
    assert "tx__payload" in dump
    assert len([line for line in dump.splitlines() if line.startswith("#")]) >= 20
    with echo() as device, pytest.raises(RuntimeError, match="this library was built without waves"):
        device.waves(tmp_path / "none.vcd")


def test_two_endpoints_know_nothing_of_each_other(memory):
    with echo(seed=1) as one, echo(seed=2) as other:
        one.map(BASE, memory, SIZE)
        start = other.cycles
        (part,) = read(one, BASE, 1)
        assert part.status == 0
        assert other.cycles == start
        (part,) = read(other, BASE, 1)
        assert part.status == 1


def test_a_closed_endpoint_says_so(memory):
    device = echo()
    device.map(BASE, memory, SIZE)
    device.close()
    device.close()
    memory.append(0)
    with pytest.raises(ValueError, match="the endpoint is closed"):
        device.run(1)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def test_endpoints_come_and_go_without_a_leak(memory):
    def one():
        with echo() as device:
            device.map(BASE, memory, SIZE)
            device.log(True)
            device.inject(memory_read(BASE, 256, **SENDER))
            device.run(200)

    for _ in range(50):
        one()
    before = resident()
    for _ in range(500):
        one()
    assert resident() - before < 2 << 20


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        ({"boundary": 32}, "the read completion boundary is 64 or 128 bytes, not 32"),
        ({"completion": 32}, "completions end at multiples of the boundary"),
        ({"stall": 1000}, "the probability of a pause is 0 to 999 thousandths, not 1000"),
    ],
)
def test_a_link_that_cannot_be_is_refused(link, sentence):
    with pytest.raises(ValueError, match=sentence):
        LinkModel(**link)
