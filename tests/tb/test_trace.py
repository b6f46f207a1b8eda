"""What a trace tells, against bytes and packets made by hand."""

import struct

import pytest
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.backends.run import run
from cocotbext.virtio.meaning import of_config, of_memory, of_register
from cocotbext.virtio.memory import Area, Arena, HostMemory
from cocotbext.virtio.modern import VirtioCapability
from cocotbext.virtio.suite.common import exercise
from cocotbext.virtio.trace import Event, Trace
from cocotbext.virtio.variant import RingVariant

DESC, AVAIL, USED, RING = 0x1000, 0x2000, 0x3000, 0x4000
AREAS = (
    Area(1, "descriptors", DESC, 16 * 8),
    Area(1, "available ring", AVAIL, 6 + 2 * 8),
    Area(1, "used ring", USED, 6 + 8 * 8),
    Area(2, "descriptor ring", RING, 16 * 8),
    Area(2, "driver event suppression", 0x5000, 4),
)
COMMON = VirtioCapability(1, 0x50, 16, 4, 0x100, 0x40)
NOTIFY = VirtioCapability(2, 0x60, 20, 4, 0x1000, 0x1000)


@pytest.mark.parametrize(
    ("address", "data", "before", "told"),
    [
        (AVAIL + 2, struct.pack("<H", 6), struct.pack("<H", 5), "queue 1: avail.idx 5 → 6"),
        (AVAIL + 2, struct.pack("<H", 6), b"", "queue 1: avail.idx 6"),
        (AVAIL + 4 + 2 * 7, struct.pack("<H", 3), b"", "queue 1: avail[7] head 3"),
        (AVAIL + 4 + 2 * 8, struct.pack("<H", 9), b"", "queue 1: used_event 9"),
        (USED + 4 + 8 * 2, struct.pack("<II", 3, 512), b"", "queue 1: used[2] id 3 len 512"),
        (USED, struct.pack("<HH", 0, 7), b"", "queue 1: used.flags 0, used.idx 7"),
        (USED + 4 + 8 * 8, struct.pack("<H", 4), b"", "queue 1: avail_event 4"),
        (USED, struct.pack("<HHIIII", 0, 2, 3, 4, 5, 6), b"",
         "queue 1: used.flags 0, used.idx 2, used[0] id 3 len 4, used[1] id 5 len 6"),
        (AVAIL, 16, b"", "queue 1: avail.flags, avail.idx, avail[0], avail[1], and 4 more"),
        (DESC + 32, struct.pack("<QIHH", 0x12340, 512, 3, 7), b"",
         "queue 1: desc[2] 0x12340 len 512 NEXT|WRITE next 7"),
        (DESC + 36, bytes(12), b"", "queue 1: desc[2]"),
        (RING + 16, struct.pack("<QIHH", 0x12340, 512, 9, 0x80), b"",
         "queue 2: desc[1] 0x12340 len 512 id 9 AVAIL"),
        (RING + 30, struct.pack("<H", 0x8080), b"", "queue 2: desc[1].flags AVAIL|USED"),
        (0x5000, struct.pack("<HH", 0x8003, 2), b"", "queue 2: driver event suppression DESC at 3 wrap 1"),
        (DESC - 4, 8, b"", "queue 1: desc[0]"),
        (DESC - 4, 4, b"", ""),
        (0x9000, 4, b"", ""),
    ],
)  # fmt: skip
def test_an_access_to_a_queue_has_a_name_and_a_value(address, data, before, told):
    assert of_memory(AREAS, address, data, before) == told


@pytest.mark.parametrize(
    ("bar", "offset", "told"),
    [
        (4, 0x114, "device_status"),
        (4, 0x124, "queue_desc + 4"),
        (4, 0x1008, "notify + 0x8"),
        (4, 0x3000, "BAR 4 + 0x3000"),
        (0, 18, "device_status"),
        (1, 0x10, "BAR 1 + 0x10"),
    ],
)
def test_registers_have_the_names_of_the_standard(bar, offset, told):
    assert of_register((COMMON, NOTIFY), bar, offset) == told


def test_registers_of_configuration_space_have_names():
    assert (of_config(4), of_config(0x86)) == ("configuration COMMAND", "configuration 0x86")


def trace(**options):
    memory = HostMemory([Arena(0x1000, bytearray(0x8000))])
    memory.areas = AREAS
    made = Trace(lambda: 40, memory, **options)
    made.bars, made.structures = {4: 0x80_0000_0000}, (COMMON, NOTIFY)
    return made, memory


def told(made):
    return [(event.mark, event.text) for event in made.events()]


def read(requester, tag, address, be=0xF, length=1):
    return [0x0000_0000 | length, requester << 16 | tag << 8 | be, address]


def completion(requester, tag, count, *payload, lower=0):
    return [0x4A00_0000 | len(payload), count, requester << 16 | tag << 8 | lower, *payload]


def test_a_completion_says_what_it_brings():
    made, _ = trace()
    made.from_device(read(0x100, 5, AVAIL, be=0xC))
    made.from_device([8, 0x100 << 16 | 6 << 8 | 0xFF, DESC])
    made.from_host(completion(0x100, 6, 32, *range(4)))
    made.from_host(completion(0x100, 5, 2, 0x0006_0000, lower=2))
    made.from_host(completion(0x100, 6, 16, 0x2000, 0, 512, 2, lower=0x10))
    assert told(made) == [
        ("<", "MRd queue 1: avail.idx"),
        ("<", "MRd queue 1: desc[0], desc[1]"),
        (">", "CplD queue 1: desc[0] 0x100000000 len 2 NEXT|WRITE next 0"),
        (">", "CplD queue 1: avail.idx 6"),
        (">", "CplD queue 1: desc[1] 0x2000 len 512 WRITE"),
    ]  # fmt: skip
    assert made.events()[0].detail == "MRd 01:00.0 tag 5 at 0x2000 length 1 be c/0"


def test_an_access_of_the_host_has_the_registers_name():
    made, _ = trace()
    made.from_host([0x2000_0001, 0x0000_0701, 0x80, 0x0000_0114])
    made.from_device(completion(0, 7, 1, 0xFFFF_FF0B, lower=0x14))
    made.from_host([0x6000_0001, 0x0000_0803, 0x80, 0x0000_1000, 2])
    assert told(made) == [
        (">", "MRd device_status"),
        ("<", "CplD device_status: 0xb"),
        (">", "MWr notify + 0x0 0x2"),
    ]


def test_interrupts_are_told_apart_from_other_writes():
    made, _ = trace(message=lambda vector: (0xFEE0_0000 + 16 * vector, 0x40 + vector))
    made.from_device([0x4000_0001, 0x0100_000F, 0xFEE0_0010, 0x41])
    made.from_device([0x4000_0001, 0x0100_000F, 0xFEE0_0010, 0x42])
    made.from_device([0x3400_0000, 0x0100_0020, 0, 0])
    made.interrupt("vector 3")
    assert told(made) == [
        ("<", "MWr interrupt: vector 1"),
        ("<", "MWr 4 bytes at 0xfee00010"),
        ("<", "Msg interrupt: INTA asserted"),
        ("<", "interrupt: vector 3"),
    ]


def test_what_the_driver_stores_in_queues_is_kept_and_nothing_else():
    made, memory = trace()
    buffer = memory.alloc(0x6000, align=0x1000)
    assert buffer.address == 0x1000
    buffer.write(struct.pack("<H", 1), AVAIL + 2 - 0x1000)
    buffer.write(b"data", 0x5F00)
    assert made.events() == [Event(40, "=", "queue 1: avail.idx 0 → 1", "2 bytes at 0x2002: 0100")]


@pytest.mark.parametrize(
    "dwords", [[], [0x4000_0001], [0x6000_0001, 0, 0], [0xFFFF_FFFF] * 5, [0x0A00_0000, 0, 0]]
)
def test_malformed_packets_are_told_as_far_as_possible(dwords):
    made, _ = trace()
    made.from_device(dwords)
    made.broken_framing("a packet without a first beat")
    assert [event.mark for event in made.events()] == ["<", "!"]
    assert len(made.lines()) == 2


def test_only_the_last_ones_are_kept():
    made, _ = trace(depth=3)
    for number in range(5):
        made.interrupt(f"vector {number}")
    assert [event.text[-1] for event in made.events()] == ["2", "3", "4"]
    made.clear()
    assert made.events() == []


@pytest.mark.parametrize(
    ("rings", "wanted"),
    [
        (
            "split",
            ["avail.idx 0 → 1", "write notify", "read queue 0: avail.idx 1", "used.idx 1", "takes used"],
        ),
        ("packed", ["desc[0].flags", "write notify", "read queue 0: desc[0]", "USED", "takes used"]),
    ],
)
def test_the_reference_device_tells_a_request_in_order(rings, wanted):
    bench = model_bench("rng", seed=1, variant=RingVariant.named(rings))
    device = run(bench.start())
    bench.host.trace.clear()
    run(exercise(bench, device))
    texts = [event.text for event in bench.host.trace.events()]
    places = [next(n for n, text in enumerate(texts) if part in text) for part in wanted]
    assert places == sorted(places)
