import random
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth_virtio.pcie.router import Router
from helpers.simulation import design, receive, send, simulate, stalled, steady
from helpers.tlp import (
    atomic,
    completion,
    config,
    from_tlp_beats,
    io,
    memory_read,
    memory_write,
    message,
    parse,
    tlp_beats,
)

OUTPUTS = ("posted", "non_posted", "completion")

# Fmt and Type of every packet that the standard defines (but prefixes), and where it goes; "r" is the
# routing of a message.  [PCIe base 5.0 table 2-3, and the deferrable memory write]
DEFINED = {
    "posted": ("010 00000", "011 00000"),
    "non_posted": (
        *("000 00000", "001 00000", "000 00001", "001 00001"),  # MRd, MRdLk
        *("000 00010", "010 00010", "000 00100", "010 00100", "000 00101", "010 00101"),  # I/O, Cfg
        *("010 01100", "011 01100", "010 01101", "011 01101", "010 01110", "011 01110"),  # AtomicOps
        *("010 11011", "011 11011"),  # DMWr
    ),
    "completion": ("000 01010", "010 01010", "000 01011", "010 01011"),
    "message": tuple(f"0{data}1 10{routing:03b}" for data in "01" for routing in range(8)),
}


def run(packets: list[list[int]], *, width: int = 64, stall: float = 0.0) -> SimpleNamespace:
    """Send ``packets``; what each output gave, and the strobes."""
    dut = design(Router, width=width)
    beats: dict[str, list[Any]] = {name: [] for name in OUTPUTS}
    result = SimpleNamespace(malformed=0, unsupported=0)

    async def source(ctx: Any) -> None:
        all_beats = [beat for packet in packets for beat in tlp_beats(packet, width)]
        await send(ctx, dut.i, all_beats, stall=stall, rng=random.Random(1))
        for _ in range(3):
            await ctx.tick().until(dut.i.ready)

    def sink(name: str) -> Any:
        async def bench(ctx: Any) -> None:
            rng = random.Random(name)
            while True:
                beats[name].append(await receive(ctx, getattr(dut, name), stall=stall, rng=rng))

        return bench

    async def watch(ctx: Any) -> None:
        async for *_, malformed, unsupported in ctx.tick().sample(dut.malformed, dut.unsupported):
            result.malformed += malformed
            result.unsupported += unsupported

    background = [watch, *map(sink, OUTPUTS), *(steady(getattr(dut, name)) for name in OUTPUTS)]
    simulate(dut, source, background=background)
    for name in OUTPUTS:
        setattr(result, name, from_tlp_beats(beats[name], width))
    return result


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256, 512))
def test_each_class_of_packets_has_its_output_and_its_order(width, stall):
    rng = random.Random(width)
    packets = []
    for number in range(30):
        payload = [rng.getrandbits(32) for _ in range(rng.randrange(1, 12))]
        packets.append(
            rng.choice(
                (
                    memory_write(0x1000, payload, tag=number),
                    memory_read(0x1000, 3, tag=number),
                    completion(payload, tag=number),
                    message(0x7F, payload),
                    config(5, 6, tag=number),
                    memory_write(0xFFC, [1, 2]),  # malformed
                )
            )
        )
    result = run(packets, width=width, stall=stall)
    kept = [
        packet for packet in packets if packet[0] >> 28 & 1 == 0 and packet != memory_write(0xFFC, [1, 2])
    ]
    is_write = [packet for packet in kept if packet[0] >> 24 == 0b010_00000]
    is_completion = [packet for packet in kept if packet[0] >> 24 & 0x1F == 0b01010]
    assert result.posted == is_write
    assert result.completion == is_completion
    assert result.non_posted == [p for p in kept if p not in is_write and p not in is_completion]
    assert result.malformed == packets.count(memory_write(0xFFC, [1, 2]))


def test_every_defined_type_is_routed_and_every_other_is_malformed():
    kinds = {
        tuple(int(part, 2) for part in text.split()): name for name, all in DEFINED.items() for text in all
    }
    packets = {}
    for fmt in range(8):
        for type in range(32):
            head = [fmt << 29 | type << 24 | 1, 0x7F if type >> 3 == 2 else 0xF, 0, 0]
            packets[fmt, type] = head[: 3 + (fmt & 1)] + [0] * (fmt >> 1 & 1)
    result = run(list(packets.values()))
    for name in OUTPUTS:
        assert [(parse(p).fmt, parse(p).type) for p in getattr(result, name)] == [
            kind for kind in packets if kinds.get(kind) == name
        ]
    assert result.malformed == 256 - len(kinds)
    assert result.unsupported == 0


def test_messages_are_dropped_and_those_that_nobody_knows_reported():
    # Unlock, PM_Active_State_Nak, PME_Turn_Off, Ignored Messages, Set_Slot_Power_Limit, Vendor_Defined 1.
    silent = {0x00, 0x14, 0x19, 0x40, 0x41, 0x43, 0x44, 0x45, 0x47, 0x48, 0x50, 0x7F}
    for known in (True, False):
        codes = [code for code in range(256) if (code in silent) == known]
        result = run([message(code, [1] * (code % 4)) for code in codes])
        assert result.unsupported == (0 if known else len(codes))
        assert result.malformed == 0
        assert result.posted == result.non_posted == result.completion == []


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(memory_write(0x1FF8, [1, 2, 3]), id="write across 4 KiB"),
        pytest.param(memory_read(0x1FF8, 3), id="read across 4 KiB"),
        pytest.param(memory_read(0x1_0000_0004, 1024), id="long read across 4 KiB"),
        pytest.param(memory_read(0, 1, last_be=1), id="one dword with a last byte enable"),
        pytest.param(memory_read(0, 2, last_be=0), id="two dwords without last byte enables"),
        pytest.param(memory_read(0, 2, first_be=0), id="two dwords without first byte enables"),
        pytest.param(memory_write(0, [1, 2], first_be=0), id="write without first byte enables"),
        pytest.param(memory_read(0, 2, locked=True, first_be=0), id="locked read without first byte enables"),
        pytest.param(config(0, last_be=1), id="configuration read with a last byte enable"),
        pytest.param(config(0, 1, length=2), id="configuration write of two dwords"),
        pytest.param(config(0, length=2, kind=1), id="configuration read of two dwords"),
        pytest.param(io(0, 1, last_be=1), id="I/O write with a last byte enable"),
    ],
)
def test_a_request_that_breaks_the_rules_of_its_type_is_malformed(packet):
    result = run([completion([1]), packet, completion([2])])
    assert result.malformed == 1
    assert result.posted == result.non_posted == []
    assert result.completion == [completion([1]), completion([2])]


def test_what_just_keeps_the_rules_passes():
    packets = [
        memory_read(0x1FF8, 2),
        memory_read(0x1000, 1024),
        memory_read(0x1_0000_0000, 1024),
        memory_read(0x1FFC, 1, first_be=0),
        memory_read(0, 2, first_be=0b0101, last_be=0b1010),
        atomic(0b01110, 0, [1, 2, 3, 4]),
    ]
    result = run(packets)
    assert result.non_posted == packets
    assert result.malformed == 0


@pytest.mark.parametrize("width", (64, 256))
def test_a_beat_passes_in_every_cycle(width):
    dut = design(Router, width=width)
    packets = [
        memory_write(0, [0] * 9),
        completion([1]),
        message(0x7F, [1] * 9),
        memory_read(0),
        completion(),
    ]
    beats = [beat for packet in packets for beat in tlp_beats(packet, width)]

    async def bench(ctx: Any) -> None:
        for name in OUTPUTS:
            ctx.set(getattr(dut, name).ready, 1)
        for beat in beats:
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()

    simulate(dut, bench)
