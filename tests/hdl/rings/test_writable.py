"""Writable segments of one chain after another, for a client that may begin chains ahead."""

import random
from typing import Any

import pytest
from amaranth_virtio.rings.walk_layout import WalkShape
from amaranth_virtio.rings.writable import WritableSegments
from helpers.simulation import STALLS, design, simulate

TOKENS, ROWS = 8, 32
SHAPE = WalkShape(queues=1, queue_size=ROWS, quota=TOKENS, indirect=False)


class Rig:
    """The segments, the memory of rows, and a client.

    ``chains`` are lists of rows by token; a row's number says what its segment is.
    """

    def __init__(self, chains: list[list[int]], *, stall: float = 0.0, seed: int = 0):
        self.dut: Any = design(WritableSegments, shape=SHAPE, tokens=TOKENS)
        self.chains = chains
        self.stall = stall
        self.rng = random.Random(seed)
        self.read: list[int] = []  # rows, in order
        self.begun = self.ended = 0
        self.cycle = 0
        self.given: list[tuple[int, int]] = []  # cycle and row of each segment that was taken

    def pauses(self) -> bool:
        return self.rng.random() < self.stall

    async def rows(self, ctx: Any) -> None:
        """What was asked for, one cycle later; and what else there is to be seen."""
        dut, following = self.dut, {}
        for chain in self.chains:
            following.update(zip(chain, chain[1:], strict=False))
        ctx.set(dut.read.ready, 1)
        sampled = (dut.read.valid, dut.read.ready, dut.read.place.index, dut.ended)
        while True:
            _, _, asks, ready, index, ended = await ctx.tick().sample(*sampled)
            self.cycle += 1
            self.ended += ended
            if asks and ready:
                self.read.append(index)
                link = following.get(index)
                row = {"address": 0x1000 * index, "length": index, "writable": 1}
                ctx.set(dut.read.row, row | {"next": link is not None, "link": link or 0})
            ctx.set(dut.read.took, asks and ready)
            ctx.set(dut.read.ready, not self.pauses())

    async def store(self, ctx: Any) -> None:
        for token, chain in enumerate(self.chains):
            part = {"place": {"index": chain[0] if chain else 0}, "count": len(chain)}
            ctx.set(self.dut.chain.payload, {"token": token, "part": part})
            ctx.set(self.dut.chain.valid, 1)
            await ctx.tick()
        ctx.set(self.dut.chain.valid, 0)

    async def begin(self, ctx: Any, *, ahead: int) -> None:
        """Begin every chain, at most ``ahead`` more than were ended."""
        for token in range(len(self.chains)):
            while self.begun - self.done >= ahead or self.pauses():
                await ctx.tick()
            ctx.set(self.dut.begin.payload, token)
            ctx.set(self.dut.begin.valid, 1)
            while not (await ctx.tick().sample(self.dut.begin.ready))[2]:
                pass
            ctx.set(self.dut.begin.valid, 0)
            self.begun += 1

    async def take(self, ctx: Any, wanted: list[int], *, hasty: bool) -> None:
        """Take as many segments of each chain as are wanted, or look behind the last one, and end it.

        ``hasty``: in the cycle in which the next one is taken, which is for nothing.
        """
        dut = self.dut
        self.done = 0
        for token, count in enumerate(wanted):
            while self.begun <= token:
                await ctx.tick()
            for position in range(count):
                while self.pauses():
                    await ctx.tick()
                exists = position < len(self.chains[token])
                ctx.set(dut.segment.ready, exists)
                valid = 0
                while not valid:
                    _, _, valid, payload = await ctx.tick().sample(dut.segment.valid, dut.segment.payload)
                ctx.set(dut.segment.ready, 0)
                assert payload.exists == exists
                if exists:
                    row = self.chains[token][position]
                    assert (payload.segment.address, payload.segment.length) == (0x1000 * row, row)
                    self.given.append((self.cycle, row))
            if hasty:
                while not ctx.get(dut.segment.valid):
                    await ctx.tick()
                ctx.set(dut.segment.ready, ctx.get(dut.segment.payload.exists))
            ctx.set(dut.end, 1)
            await ctx.tick()
            ctx.set(dut.end, 0)
            ctx.set(dut.segment.ready, 0)
            self.done += 1

    def run(self, wanted: list[int], *, ahead: int, hasty: bool = False) -> None:
        async def client(ctx: Any) -> None:
            await self.store(ctx)
            await self.take(ctx, wanted, hasty=hasty)
            while self.ended < len(wanted):
                await ctx.tick()
            await ctx.tick().repeat(10)
            assert self.ended == len(wanted)

        async def begin(ctx: Any) -> None:
            await ctx.tick().repeat(len(self.chains) + 1)
            await self.begin(ctx, ahead=ahead)

        self.done = 0
        simulate(self.dut, client, background=[self.rows, begin], deadline=5_000)


def chains_of(rng: random.Random) -> list[list[int]]:
    """Chains of 0 to 4 segments."""
    rows = rng.sample(range(1, ROWS), ROWS - 1)
    return [[rows.pop() for _ in range(rng.choice([0, 1, 1, 2, 3, 4]))] for _ in range(TOKENS)]


@pytest.mark.parametrize("hasty", [False, True], ids=["", "hasty"])
@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("stall", STALLS)
def test_every_chain_has_its_own_segments_however_early_it_was_begun(
    stall: float, ahead: int, hasty: bool
) -> None:
    for seed in range(4):
        rng = random.Random(f"{seed} {stall} {ahead}")
        chains = chains_of(rng)
        rig = Rig(chains, stall=stall, seed=seed)
        # All of them, some, none, or all and what is behind the last one.
        rig.run(
            [rng.choice([len(chain), len(chain) + 1, len(chain) // 2, 0]) for chain in chains],
            ahead=ahead,
            hasty=hasty,
        )
        assert rig.read == [row for chain in chains for row in chain], "all rows are let go of, in order"


def test_the_next_chains_first_segment_is_there_when_the_one_before_ends() -> None:
    """Begun early, short chains follow each other in the 4 cycles of a row's walk; otherwise in 8."""
    chains = [[number] for number in range(1, TOKENS + 1)]
    periods = {}
    for ahead in (1, 3):
        rig = Rig(chains)
        rig.run([1] * TOKENS, ahead=ahead)
        cycles = [cycle for cycle, _ in rig.given]
        periods[ahead] = [later - cycle for cycle, later in zip(cycles, cycles[1:], strict=False)][-3:]
    assert periods == {1: [8] * 3, 3: [4] * 3}
