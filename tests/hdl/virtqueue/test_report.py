from amaranth_virtio.virtqueue.report import ErrorFilter
from helpers.ring import taken
from helpers.simulation import send, simulate
from virtio_spec.layout import Cause

FIRST = {"cause": Cause.NEXT_INDEX, "queue": 3, "head": 4, "descriptor": 5}
SECOND = {"cause": Cause.ZERO_LENGTH, "queue": 6, "head": 7, "descriptor": 8}


def run(*benches):
    dut = ErrorFilter(sources=2)
    seen = []

    async def watch(ctx):
        while True:
            error = await taken(ctx, dut.error)
            seen.append(
                {
                    "cause": error.cause,
                    "queue": error.queue,
                    "head": error.head,
                    "descriptor": error.descriptor,
                }
            )

    async def settle(ctx):
        for bench in benches:
            await bench(ctx, dut)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.halted) == 1

    async def records(ctx):
        while True:
            *_, token = await ctx.tick().sample(dut.chain.token)
            ctx.set(dut.chain.record, {"queue": 100 + token, "head": 200 + token})

    simulate(dut, settle, background=[watch, records])
    return seen


def test_only_the_first_error_is_reported():
    async def bench(ctx, dut):
        assert ctx.get(dut.halted) == 0
        await send(ctx, dut.reports[1], [FIRST])
        await send(ctx, dut.reports[0], [SECOND])
        await send(ctx, dut.fault, [1])

    assert run(bench) == [FIRST]


def test_of_two_errors_at_once_one_is_reported():
    async def bench(ctx, dut):
        ctx.set(dut.reports[1].payload, SECOND)
        ctx.set(dut.reports[1].valid, 1)
        await send(ctx, dut.reports[0], [FIRST])
        ctx.set(dut.reports[1].valid, 0)

    assert run(bench) == [FIRST]


def test_a_chain_that_could_not_be_read_is_reported_with_its_origin():
    async def bench(ctx, dut):
        await send(ctx, dut.fault, [9])

    assert run(bench) == [{"cause": Cause.DMA_ERROR, "queue": 109, "head": 209, "descriptor": 0}]
