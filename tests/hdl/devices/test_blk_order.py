"""Requests of a block device that are under way together: their order, their number, their rate."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.devices.ram_blk import RamBlkDevice
from helpers.blk import (
    FLUSH,
    FLUSH_ACCEPTED,
    GET_ID,
    IN,
    IOERR,
    OK,
    OUT,
    SECTORS,
    ZEROES,
    BlkBench,
    request,
    segment,
)
from helpers.chains import ChainHost
from helpers.simulation import design, simulate


async def read_beats(ctx: Any, ports: Any, tag: int, beats: int, value: int) -> None:
    """Answer a READ."""
    for number in range(beats):
        ctx.set(ports.read_data.p, {"data": value, "error": 0, "last": int(number == beats - 1), "tag": tag})
        ctx.set(ports.read_data.valid, 1)
        await ctx.tick().until(ports.read_data.ready)
    ctx.set(ports.read_data.valid, 0)


async def respond(ctx: Any, ports: Any, tag: int, error: int = 0) -> None:
    """Answer anything else."""
    ctx.set(ports.response.p, {"error": error, "tag": tag})
    ctx.set(ports.response.valid, 1)
    await ctx.tick().until(ports.response.ready)
    ctx.set(ports.response.valid, 0)


def manual(device: Any, host: ChainHost, bench: Any, background: Sequence[Any] = ()) -> None:
    """Run ``bench``, which is the storage; requests are collected in the list that it gets."""
    asked: list[Any] = []

    async def take(ctx: Any) -> None:
        ctx.set(device.storage.request.ready, 1)
        async for *_, valid, p in ctx.tick().sample(device.storage.request.valid, device.storage.request.p):
            if valid:
                asked.append(p)

    async def main(ctx: Any) -> None:
        ctx.set(device.storage.capacity, SECTORS)
        ctx.set(device.storage.write_data.ready, 1)
        ctx.set(device.features, FLUSH_ACCEPTED)
        ctx.set(device.driver_ok, 1)
        await ctx.tick().repeat(2)
        await bench(ctx, asked)

    simulate(device, main, background=[take, *host.benches, *background])


@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("requests", [2, 8, 16])
def test_reads_complete_in_the_order_of_the_storage_and_no_more_are_asked_for_than_there_are_tags(
    width, requests
):
    device: Any = design(BlkDevice, width=width, requests=requests)
    host = ChainHost(device)
    rng = random.Random(f"{width} {requests}")

    async def bench(ctx, asked):
        jobs = [host.put(request(IN, number % SECTORS, room=512)) for number in range(2 * requests + 1)]
        left = dict(enumerate(jobs))
        under_way: dict[int, int] = {}  # tag to job
        while left:
            await ctx.tick().repeat(10 * requests if len(left) > requests else 20)
            for entry in asked:
                number = len(jobs) - len(left) + len(under_way)
                assert entry.tag not in under_way
                assert entry.sector == number % SECTORS
                under_way[entry.tag] = number
            asked.clear()
            assert len(under_way) == min(requests, len(left))
            tag = rng.choice(sorted(under_way))
            number = under_way.pop(tag)
            await read_beats(ctx, device.storage, tag, 4096 // width, number + 1)
            await host.until(ctx, jobs[number])
            assert jobs[number].written == (number + 1).to_bytes(width // 8, "little") * (4096 // width) + OK
            assert all(not jobs[other].done for other in under_way.values())
            del left[number]

    manual(device, host, bench)


def test_what_needs_no_storage_passes_what_waits_for_it():
    device: Any = design(BlkDevice, width=64, serial=b"me")
    host = ChainHost(device)

    async def bench(ctx, asked):
        slow = [host.put(request(IN, 0, room=512)), host.put(request(FLUSH, 0))]
        quick = [host.put(request(GET_ID, 0, room=20)), host.put(request(IN, SECTORS, room=512))]
        for job in quick:
            await host.until(ctx, job)
        assert bytes(quick[0].written) == b"me".ljust(20, b"\0") + OK
        assert bytes(quick[1].written) == bytes(512) + IOERR
        assert not any(job.done for job in slow)
        await respond(ctx, device.storage, asked[1].tag, error=1)
        await host.until(ctx, slow[1])
        assert bytes(slow[1].written) == IOERR
        assert not slow[0].done

    manual(device, host, bench)


def test_reads_and_other_answers_take_turns_if_both_are_there_all_the_time():
    device: Any = design(BlkDevice, width=256)
    host = ChainHost(device)
    answers: list[int] = []
    completed: list[int] = []

    async def responses(ctx):
        while True:
            if answers:
                await respond(ctx, device.storage, answers.pop(0))
            else:
                await ctx.tick()

    async def watch(ctx):
        port = device.chains.writable
        async for *_, moves, p in ctx.tick().sample(port.valid & port.ready, port.p):
            if moves and p.last:
                completed.append(p.token)

    async def bench(ctx, asked):
        jobs = [host.put(request(IN, 0, room=512)) for _ in range(4)]
        jobs += [host.put(request(FLUSH, 0)) for _ in range(4)]
        await ctx.tick().repeat(80)
        tags = [entry.tag for entry in asked]
        answers.extend(tags[4:])
        for tag in tags[:4]:
            await read_beats(ctx, device.storage, tag, 16, 1)
        for job in jobs:
            await host.until(ctx, job)
        reads, flushes = range(1, 5), range(5, 9)  # tokens
        assert completed == [token for pair in zip(flushes, reads, strict=True) for token in pair]

    manual(device, host, bench, [responses, watch])


def test_the_segments_of_a_request_are_under_way_together_and_it_ends_with_the_last():
    device: Any = design(BlkDevice, width=128, requests=8)
    host = ChainHost(device)

    async def bench(ctx, asked):
        parts = segment(0, 1) + segment(2, 1, 1) + segment(5, 2)
        job = host.put(request(ZEROES, 0, parts, room=2))
        after = host.put(request(FLUSH, 0))
        await ctx.tick().repeat(40)
        assert [(entry.sector, entry.count, entry.unmap) for entry in asked[:3]] == [
            (0, 1, 0),
            (2, 1, 1),
            (5, 2, 0),
        ]
        assert len({entry.tag for entry in asked}) == 4
        await respond(ctx, device.storage, asked[3].tag)
        await host.until(ctx, after)
        for entry in (asked[2], asked[0]):
            await respond(ctx, device.storage, entry.tag, error=int(entry is asked[2]))
        await ctx.tick().repeat(20)
        assert not job.done
        await respond(ctx, device.storage, asked[1].tag)
        await host.until(ctx, job)
        assert bytes(job.written) == bytes(2) + IOERR

    manual(device, host, bench)


@pytest.mark.parametrize("width", [64, 128, 256])
def test_the_storage_may_answer_in_any_order(width):
    bench = BlkBench(width, stall=0.3, shuffle=True)
    rng = random.Random(width)

    async def main(ctx):
        for _ in range(3):
            content = bytearray(bench.storage.data)
            jobs = []
            for sector in rng.sample(range(SECTORS), SECTORS):
                kind = rng.choice((IN, OUT, ZEROES))
                data = {OUT: rng.randbytes(512), ZEROES: segment(sector, 1)}.get(kind, b"")
                job = request(kind, sector, data, room=512 if kind == IN else 0)
                jobs.append((job, content[512 * sector : 512 * sector + 512] if kind == IN else b""))
                if kind != IN:
                    content[512 * sector : 512 * sector + 512] = data if kind == OUT else bytes(512)
                bench.host.put(job)
            for job, expected in jobs:
                await bench.host.until(ctx, job)
                assert bytes(job.written) == expected + OK
            assert bench.storage.data == content
        assert bench.storage.most >= 4

    bench.run(main, deadline=60_000)


# Rates, in cycles from one request to the next


def cycles_between(ctx_samples: list[int]) -> set[int]:
    return {after - before for before, after in zip(ctx_samples, ctx_samples[1:], strict=False)}


@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("sectors", [1, 8])
def test_reads_follow_each_other_with_one_beat_for_the_status(width, sectors):
    device: Any = design(RamBlkDevice, width=width, sectors=SECTORS)
    host = ChainHost(device)
    ends: list[int] = []

    async def watch(ctx):
        now = 0
        writable = device.chains.writable
        async for *_, moves, last in ctx.tick().sample(writable.valid & writable.ready, writable.p.last):
            now += 1
            if moves and last:
                ends.append(now)

    async def main(ctx):
        await ctx.tick().repeat(2)
        jobs = [host.put(request(IN, 0, room=512 * sectors)) for _ in range(12)]
        for job in jobs:
            await host.until(ctx, job)

    simulate(device, main, background=[watch, *host.benches])
    assert cycles_between(ends[1:]) == {4096 // width * sectors + 1}


@pytest.mark.parametrize("width", [64, 128, 256])
def test_data_to_be_written_follows_headers_without_a_pause(width):
    """In it is header and data, beat by beat; out it is the data, with a gap for the header."""
    device: Any = design(BlkDevice, width=width)
    host = ChainHost(device)
    beats = 4096 // width
    taken: list[tuple[int, bool]] = []

    async def watch(ctx):
        now = 0
        data = device.storage.write_data
        async for *_, valid, last in ctx.tick().sample(data.valid, data.p.last):
            now += 1
            if valid:
                taken.append((now, bool(last)))

    async def answer(ctx):
        tags: list[int] = []
        port = device.storage.request
        data = device.storage.write_data
        async for *_, asked, p, valid, last in ctx.tick().sample(port.valid, port.p, data.valid, data.p.last):
            if asked:
                tags.append(p.tag)
            ctx.set(device.storage.response.valid, int(bool(valid and last)))
            if valid and last:
                ctx.set(device.storage.response.p, {"error": 0, "tag": tags.pop(0)})

    async def main(ctx):
        ctx.set(device.storage.capacity, SECTORS)
        ctx.set(device.storage.request.ready, 1)
        ctx.set(device.storage.write_data.ready, 1)
        await ctx.tick().repeat(2)
        jobs = [host.put(request(OUT, number, bytes(512))) for number in range(6)]
        for job in jobs:
            await host.until(ctx, job)
            assert bytes(job.written) == OK

    simulate(device, main, background=[watch, answer, *host.benches])
    ends = [now for now, last in taken if last]
    assert len(taken) == 6 * beats
    assert cycles_between(ends) == {beats + max(128 // width, 1)}


@pytest.mark.parametrize("width, cycles", [(64, 6), (128, 5), (256, 5)])
def test_requests_without_data_follow_each_other_in_a_few_cycles(width, cycles):
    device: Any = design(BlkDevice, width=width)
    host = ChainHost(device)
    starts: list[int] = []

    async def storage(ctx):
        now = 0
        port = device.storage.request
        async for *_, asked, p in ctx.tick().sample(port.valid, port.p):
            now += 1
            ctx.set(device.storage.response.valid, asked)
            if asked:
                starts.append(now)
                ctx.set(device.storage.response.p, {"error": 0, "tag": p.tag})

    async def main(ctx):
        ctx.set(device.storage.request.ready, 1)
        await ctx.tick().repeat(2)
        jobs = [host.put(request(FLUSH, 0)) for _ in range(8)]
        for job in jobs:
            await host.until(ctx, job)
            assert bytes(job.written) == OK

    simulate(device, main, background=[storage, *host.benches])
    assert cycles_between(starts) == {cycles}
