"""Completions find their channel by tag."""

import random
from typing import Any

import pytest
from amaranth_virtio.dma.router import CompletionRouter
from helpers.simulation import send, simulate
from helpers.tlp import completion, from_tlp_beats, tlp_beats


@pytest.mark.parametrize("width", [64, 128, 256])
def test_each_completion_goes_to_the_channel_of_its_tag(width: int) -> None:
    """Of tags 0 to 3, 8 to 11 and 12; all others, those above 255 included, are dropped with a strobe."""
    ranges = [range(0, 4), range(8, 12), range(12, 13)]
    dut = CompletionRouter(width=width, channels=ranges)
    rng = random.Random(0)
    tags = [0, 3, 4, 7, 8, 11, 12, 13, 31, 255, 0x100, 0x208, *rng.choices(range(16), k=30)]
    packets = [
        completion([rng.getrandbits(32) for _ in range(rng.choice([0, 1, 2, 9]))], tag=tag) for tag in tags
    ]
    seen: list[list[Any]] = [[] for _ in ranges]
    dropped = []

    async def source(ctx: Any) -> None:
        for packet in packets:
            await send(ctx, dut.i, tlp_beats(packet, width))

    def watcher(number: int) -> Any:
        async def watch(ctx: Any) -> None:
            stream = dut.o[number]
            async for _, _, valid, payload in ctx.tick().sample(stream.valid, stream.payload):
                if valid:
                    seen[number].append(payload)

        return watch

    async def strobes(ctx: Any) -> None:
        async for _, _, strobe in ctx.tick().sample(dut.unexpected):
            dropped.append(strobe)

    simulate(dut, source, background=[*(watcher(number) for number in range(len(ranges))), strobes])
    for number, own in enumerate(ranges):
        mine = [packet for tag, packet in zip(tags, packets, strict=True) if tag in own]
        assert from_tlp_beats(seen[number], width) == mine
    assert sum(dropped) == sum(not any(tag in own for own in ranges) for tag in tags)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([], "channels must name at least one range of tags"),
        ([range(0, 4), range(3, 5)], r"tags range\(3, 5\) belong to more than one channel"),
        ([range(250, 257)], r"channels must be ranges of tags from 0 to 255, not range\(250, 257\)"),
    ],
)
def test_wrong_channels_are_named(channels: list[range], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompletionRouter(width=64, channels=channels)
