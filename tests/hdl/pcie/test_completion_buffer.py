import random
from typing import Any

import pytest
from amaranth_virtio.pcie.completion_buffer import CompletionBuffer
from helpers.simulation import receive, send, simulate, stalled, steady
from helpers.tlp import completion, from_tlp_beats


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256, 512))
def test_a_packet_is_made_of_the_dwords_before_its_header(width, stall):
    dut = CompletionBuffer(width=width)
    rng = random.Random(width)
    packets = [
        completion([rng.getrandbits(32) for _ in range(length)], tag=length)
        for length in (0, 1, 32, 2, 0, 17, 31, 16, 3)
    ]
    beats: list[Any] = []

    async def source(ctx: Any) -> None:
        for packet in packets:
            ctx.set(dut.dword.valid, 1)
            for dword in packet[3:]:
                ctx.set(dut.dword.payload, dword)
                await ctx.tick()
            ctx.set(dut.dword.valid, 0)
            await send(ctx, dut.header, [{"dwords": [*packet[:3], 0]}], stall=stall, rng=rng)

    async def sink(ctx: Any) -> None:
        mine = random.Random(1)
        left = len(packets)
        while left:
            beats.append(await receive(ctx, dut.o, stall=stall, rng=mine))
            left -= beats[-1].last

    simulate(dut, source, sink, background=[steady(dut.o)])
    assert from_tlp_beats(beats, width) == packets


@pytest.mark.parametrize(("width", "dwords"), ((64, 1), (512, 8), (64, 12)))
def test_a_buffer_that_does_not_fit_its_beats_is_refused(width, dwords):
    message = f"^dwords must be a power of two from {width // 32} on, not {dwords}$"
    with pytest.raises(ValueError, match=message):
        CompletionBuffer(width=width, dwords=dwords)
