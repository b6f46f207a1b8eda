"""Read channels against a host that answers in pieces, out of order, with errors, or not at all."""

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth_virtio.dma.reads import Client, Reads
from helpers.dma import REQUESTER, ReadHost, memory_bytes
from helpers.simulation import design, receive, send, simulate, stalled
from helpers.tlp import completion, tlp_beats

WIDTHS = (64, 128, 256)
TIMEOUT = 2000


def channel(width: int = 64, **changes: Any) -> Any:
    """A client behind another one; see :func:`behind_another`."""
    return design(behind_another, width=width, **changes)


def behind_another(*, width: int, first_tag: int = 4, timeout: int = TIMEOUT, **changes: Any) -> Any:
    """Reads for a client behind one whose tags are below ``first_tag``, and which asks for nothing."""
    client = Client(**({"tags": 8, "max_bytes": 256, "context": 16} | changes))
    before = {"other": Client(tags=first_tag, max_bytes=128, context=1)} if first_tag else {}
    return Reads(width=width, clients={**before, "data": client}, timeout=timeout)


def before_another(*, width: int) -> Any:
    """Reads for a client with 4 tags in front of the 6 of another one, and 4 behind them."""
    clients = {
        "data": Client(tags=8, short=4, max_bytes=128, context=16),
        "other": Client(tags=6, max_bytes=128, context=1),
    }
    return Reads(width=width, clients=clients, timeout=TIMEOUT)


def settle(ctx: Any, dut: Any, **changes: int) -> None:
    settings = {
        "requester_id": REQUESTER,
        "bus_master": 1,
        "max_payload": 0,
        "max_read_request": 2,
        "extended_tag": 0,
    }
    ctx.set(dut.settings, settings | changes)


async def collect(
    ctx: Any, data: Any, count: int, width: int, *, stall: float = 0.0, seed: int = 1
) -> list[Any]:
    """``count`` results as (context, bytes, error); each beat is checked against its layout."""
    rng = random.Random(seed)
    lanes = width // 8
    results = []
    for _ in range(count):
        gathered = b""
        first = True
        while True:
            beat = await receive(ctx, data, stall=stall, rng=rng)
            if not beat.error:
                assert first or beat.start == 0
                assert 1 <= beat.count and beat.start + beat.count <= lanes
                assert beat.last or beat.start + beat.count == lanes
                raw = int(beat.data).to_bytes(lanes, "little")
                gathered += raw[beat.start : beat.start + beat.count]
            first = False
            if beat.last:
                results.append((beat.context, gathered, bool(beat.error)))
                break
            assert not beat.error
    return results


def run(
    dut: Any,
    host: ReadHost,
    requests: list[tuple[int, int]],
    *,
    also: Sequence[Any] = (),
    watch: Sequence[Any] = (),
    deadline: int = 20_000,
    **settings: int,
) -> list[Any]:
    """Results of ``requests``, given as (address, length); their contexts count from 0x100.

    The benches ``also`` have to end, too; ``watch`` run in the background.
    """
    results: list[Any] = []

    async def client(ctx: Any) -> None:
        settle(ctx, dut, **settings)
        payloads = [
            {"address": address, "length": length, "context": 0x100 + number}
            for number, (address, length) in enumerate(requests)
        ]
        await send(ctx, dut.data_request, payloads, stall=host.stall, rng=random.Random(5))

    async def sink(ctx: Any) -> None:
        results.extend(await collect(ctx, dut.data_data, len(requests), dut.width, stall=host.stall))
        assert not host.outstanding

    async def reads(ctx: Any) -> None:
        await host.take_reads(ctx, dut.o)

    async def completions(ctx: Any) -> None:
        await host.complete(ctx, dut.completion)

    simulate(dut, client, sink, *also, background=[reads, completions, *watch], deadline=deadline)
    return results


def whole(requests: list[tuple[int, int]]) -> list[Any]:
    return [
        (0x100 + number, memory_bytes(address, length), False)
        for number, (address, length) in enumerate(requests)
    ]


def mixed(seed: int, count: int, longest: int) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    bases = (0x1000, 0xFFFF_F000, 0x1_0000_0000, 0x1234_5678_9000)
    return [(rng.choice(bases) + rng.randrange(4096), rng.randint(1, longest)) for _ in range(count)]


def inside_blocks(seed: int, count: int) -> list[tuple[int, int]]:
    """Requests that cross no multiple of 128 bytes."""
    rng = random.Random(seed)
    starts = [(rng.choice((0x1000, 0xFFFF_FF80, 0x12_3456_7880)), rng.randrange(128)) for _ in range(count)]
    return [(base + at, rng.randint(1, 128 - at)) for base, at in starts]


@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS))
def test_what_is_read_is_what_memory_holds(width: int, stall: float) -> None:
    requests = mixed(width, 7 if stall < 0.9 else 4, 700)
    host = ReadHost(width, limit=256, tags=range(4, 12), stall=stall, boundary=0, wait_for=3)
    assert run(channel(width), host, requests) == whole(requests)


@pytest.mark.parametrize(("width", "stall"), [(64, 0.5), (128, 0.9), (256, 0.0)])
def test_clients_get_their_own_data_and_none_waits_for_another(width: int, stall: float) -> None:
    """The third one takes nothing before the other two have all of theirs."""
    clients = {
        "small": Client(tags=2, max_bytes=128, context=8, whole=True),
        "large": Client(tags=11, max_bytes=512, context=16),
        "late": Client(tags=3, max_bytes=256, context=4),
    }
    dut: Any = Reads(width=width, clients=clients, timeout=TIMEOUT * 8)
    host = ReadHost(width, limit=512, tags=range(16), stall=stall, boundary=64, wait_for=4, seed=width)
    count = 12 if stall < 0.9 else 5
    wanted = {"small": inside_blocks(width, count), "large": mixed(width, count, 900)}
    wanted["late"] = mixed(width + 1, 3, 400)
    done: set[str] = set()

    def client(name: str) -> Any:
        async def ask(ctx: Any) -> None:
            settle(ctx, dut)
            payloads = [
                {"address": address, "length": length, "context": number}
                for number, (address, length) in enumerate(wanted[name])
            ]
            await send(ctx, getattr(dut, f"{name}_request"), payloads, stall=stall, rng=random.Random(name))

        return ask

    def sink(name: str) -> Any:
        async def take(ctx: Any) -> None:
            while name == "late" and len(done) < 2:
                await ctx.tick()
            got = await collect(ctx, getattr(dut, f"{name}_data"), len(wanted[name]), width, stall=stall)
            good = [(n, memory_bytes(*place), False) for n, place in enumerate(wanted[name])]
            assert got == good
            done.add(name)

        return take

    async def reads(ctx: Any) -> None:
        await host.take_reads(ctx, dut.o)

    async def completions(ctx: Any) -> None:
        await host.complete(ctx, dut.completion)

    simulate(
        dut, *map(client, clients), *map(sink, clients), background=[reads, completions], deadline=40_000
    )


@pytest.mark.parametrize("width", [*WIDTHS, 512])
def test_any_alignment_and_short_length_is_read_exactly(width: int) -> None:
    lanes = width // 8
    requests = [(0x2000 + start, length) for start in range(0, lanes, 3) for length in (1, 2, 3, 5, lanes)]
    host = ReadHost(width, limit=256, tags=range(4, 12))
    assert run(channel(width), host, requests) == whole(requests)


@pytest.mark.parametrize("boundary", [0, 64, 128])
def test_completions_split_at_any_boundary_are_put_together(boundary: int) -> None:
    requests = [(0x3003, 1500), (0x1_0000_0FF1, 300)]
    host = ReadHost(128, limit=256, tags=range(4, 12), boundary=boundary, seed=boundary)
    assert run(channel(128), host, requests) == whole(requests)


@pytest.mark.parametrize(
    ("max_bytes", "max_read_request", "size"), [(512, 0, 128), (512, 2, 512), (512, 5, 512), (4096, 5, 4096)]
)
def test_a_read_is_split_at_multiples_of_the_smaller_limit(
    max_bytes: int, max_read_request: int, size: int
) -> None:
    address, length = 0x1FF0, 5000
    host = ReadHost(256, limit=size, tags=range(4, 6), boundary=64)
    dut = channel(256, max_bytes=max_bytes, tags=2)
    assert run(dut, host, [(address, length)], max_read_request=max_read_request) == whole(
        [(address, length)]
    )
    starts = [address, *range((address // size + 1) * size, address + length, size)]
    assert [read.address + (read.first_be == 0x8) * 3 for read in host.reads] == starts


def test_all_tags_are_outstanding_at_once() -> None:
    requests = [(0x10000, 8192)]
    host = ReadHost(256, limit=128, tags=range(32), wait_for=32)
    dut = channel(256, tags=32, first_tag=0, max_bytes=128)
    assert run(dut, host, requests) == whole(requests)
    assert host.most == 32


def test_256_tags_are_outstanding_at_once_with_extended_tags() -> None:
    requests = [(0x10000, 128 * 256)]
    host = ReadHost(256, limit=128, tags=range(256), wait_for=256)
    dut = channel(256, tags=256, first_tag=0, max_bytes=128)
    assert run(dut, host, requests, extended_tag=1) == whole(requests)
    assert host.most == 256


def test_without_extended_tags_no_tag_above_31_is_used() -> None:
    requests = [(0x10000, 2048)]
    host = ReadHost(64, limit=128, tags=range(28, 32), wait_for=4)
    dut = channel(64, tags=20, first_tag=28, max_bytes=128)
    assert run(dut, host, requests) == whole(requests)
    assert host.most == 4


@pytest.mark.parametrize(
    ("extended", "tags"), [(0, [0, 1, 2, 3]), (1, [0, 1, 2, 3, 12, 13, 14, 15])], ids=["short", "extended"]
)
def test_tags_behind_those_of_other_clients_are_used_with_extended_tags(
    extended: int, tags: list[int]
) -> None:
    requests = [(0x10000, 2048)]
    host = ReadHost(64, limit=128, tags=tags, wait_for=len(tags))
    dut = design(before_another, width=64)
    assert run(dut, host, requests, extended_tag=extended) == whole(requests)
    assert host.most == len(tags)


@pytest.mark.parametrize("width", WIDTHS)
def test_long_reads_come_at_one_beat_per_cycle(width: int) -> None:
    """4 KiB from a host that answers at once: every beat in its own cycle, after a fixed latency."""
    dut = channel(width, tags=16, max_bytes=256)
    host = ReadHost(width, limit=256, tags=range(4, 20), boundary=0, shuffle=False)
    host.next_piece = lambda tlp: whole_read(host, tlp)
    cycles = []

    async def client(ctx: Any) -> None:
        settle(ctx, dut)
        await send(ctx, dut.data_request, [{"address": 0x8000, "length": 4096, "context": 1}])

    async def sink(ctx: Any) -> None:
        ctx.set(dut.data_data.ready, 1)
        cycle = 0
        while True:
            _, _, valid, payload = await ctx.tick().sample(dut.data_data.valid, dut.data_data.payload)
            if valid:
                cycles.append(cycle)
                if payload.last:
                    return
            cycle += 1

    async def reads(ctx: Any) -> None:
        await host.take_reads(ctx, dut.o)

    async def completions(ctx: Any) -> None:
        await host.complete(ctx, dut.completion)

    simulate(dut, client, sink, background=[reads, completions])
    beats = 4096 // (width // 8)
    assert len(cycles) == beats
    assert cycles[-1] - cycles[0] == beats - 1


def whole_read(host: ReadHost, tlp: SimpleNamespace) -> list[int]:
    del host.outstanding[tlp.tag]
    raw = memory_bytes(tlp.position, tlp.end - tlp.position)
    payload = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]
    return completion(
        payload,
        byte_count=len(raw),
        lower_address=tlp.position & 0x7F,
        requester=REQUESTER,
        tag=tlp.tag,
    )


STROBE = {
    "ur": "ur_received",
    "retry": "ur_received",
    "ca": "ca_received",
    "poison": "poisoned",
    "count": "unexpected",
    "lower": "unexpected",
    "long": "unexpected",
    "no data": "unexpected",
    "lost": "timed_out",
}


@pytest.mark.parametrize("fault", STROBE)
@pytest.mark.parametrize("failing", [0, 4])
def test_a_failed_read_ends_its_request_and_no_other(fault: str, failing: int) -> None:
    """The request of five parts fails in part ``failing``; those before and behind it are whole."""
    address = 0x20000
    requests = [(0x8001, 40), (address, 5 * 256), (0x9002, 50), (0xA003, 300)]
    dut = channel(64, timeout=400)
    host = ReadHost(
        64,
        limit=256,
        tags=range(4, 12),
        boundary=64,
        fault=lambda tlp: fault if tlp.address == address + 256 * failing else None,
    )
    strobes = dict.fromkeys(STROBE.values(), 0)

    async def count(ctx: Any) -> None:
        names = list(strobes)
        async for _, _, *values in ctx.tick().sample(*(getattr(dut, name) for name in names)):
            for name, value in zip(names, values, strict=True):
                strobes[name] += value

    results = run(dut, host, requests, watch=[count], deadline=8000)
    good = whole(requests)
    good[1] = (0x101, memory_bytes(address, 256 * failing), True)
    assert results == good
    assert strobes.pop(STROBE[fault]) >= 1
    assert not any(strobes.values())


def test_the_rest_of_a_long_request_is_not_read_after_an_error() -> None:
    requests = [(0x10000, 0xFFFF_FFFF), (0x500, 10)]
    host = ReadHost(
        64, limit=256, tags=range(4, 12), fault=lambda tlp: "ur" if tlp.address == 0x10100 else None
    )
    results = run(channel(64), host, requests)
    assert results == [(0x100, memory_bytes(0x10000, 256), True), (0x101, memory_bytes(0x500, 10), False)]
    assert len(host.reads) < 30


def test_a_late_completion_reaches_nobody() -> None:
    """With one tag, the next read has to wait until nothing can be late any more, and is then exact."""
    dut = channel(64, tags=1, timeout=400)
    host = ReadHost(64, limit=256, tags=range(4, 5), fault=lambda tlp: "lost" if not host.reads else None)
    requests = [(0x1000, 64), (0x2000, 64)]
    seen = {"unexpected": 0, "reads_before": 0}

    async def late(ctx: Any) -> None:
        await ctx.tick().until(dut.timed_out)
        await ctx.tick().repeat(60)
        seen["reads_before"] = len(host.reads)
        host.packets.append(whole_lost(host.lost[0]))
        await ctx.tick().until(dut.unexpected)
        seen["unexpected"] += 1

    results = run(dut, host, requests, also=[late], deadline=4000)
    assert results == [(0x100, b"", True), whole(requests)[1]]
    assert seen == {"unexpected": 1, "reads_before": 1}


def whole_lost(tlp: SimpleNamespace) -> list[int]:
    raw = bytes(tlp.end - tlp.position)
    return completion(
        [0xDEAD_DEAD] * (len(raw) // 4),
        byte_count=len(raw),
        lower_address=tlp.position & 0x7F,
        requester=REQUESTER,
        tag=tlp.tag,
    )


def test_a_channel_that_lost_reads_rests_for_a_second_time_out() -> None:
    """All tags lost: the channel rests for at least one more time-out, then reads again."""
    dut = channel(64, tags=2, timeout=200)
    host = ReadHost(
        64, limit=256, tags=range(4, 6), fault=lambda tlp: "lost" if len(host.reads) < 2 else None
    )
    requests = [(0x1000, 64), (0x2000, 64), (0x3000, 64)]
    cycles: list[int] = []

    async def watch(ctx: Any) -> None:
        cycle = 0
        async for _, _, died, sent in ctx.tick().sample(dut.timed_out, dut.o.valid & dut.o.ready):
            cycle += 1
            if died or (sent and cycles):
                cycles.append(cycle)

    results = run(dut, host, requests, watch=[watch], deadline=4000)
    assert results == [(0x100, b"", True), (0x101, b"", True), whole(requests)[2]]
    assert len(cycles) == 3
    assert 200 <= cycles[2] - cycles[1] <= 320


def test_a_time_out_comes_between_one_and_five_quarters_of_the_given_cycles() -> None:
    dut = channel(64, timeout=200)

    async def client(ctx: Any) -> None:
        settle(ctx, dut)
        ctx.set(dut.o.ready, 1)
        for pause in (0, 13, 40):
            await ctx.tick().repeat(pause + 1)
            await send(ctx, dut.data_request, [{"address": 0x1000, "length": 64, "context": 1}])
            await ctx.tick().until(dut.o.valid)
            cycles = 0
            while not (await ctx.tick().sample(dut.timed_out))[2]:
                cycles += 1
            assert 200 <= cycles <= 252
            ctx.set(dut.data_data.ready, 1)
            await ctx.tick().until(dut.data_data.valid)

    simulate(dut, client)


def test_no_time_out_while_it_is_disabled() -> None:
    dut = channel(64, timeout=64)

    async def client(ctx: Any) -> None:
        settle(ctx, dut)
        ctx.set(dut.completion_timeout_disable, 1)
        ctx.set(dut.o.ready, 1)
        await send(ctx, dut.data_request, [{"address": 0x1000, "length": 64, "context": 1}])
        for _ in range(300):
            _, _, died, valid = await ctx.tick().sample(dut.timed_out, dut.data_data.valid)
            assert not died and not valid
        ctx.set(dut.completion_timeout_disable, 0)
        await ctx.tick().until(dut.timed_out)

    simulate(dut, client)


def test_completions_that_nobody_waits_for_are_dropped_with_a_strobe() -> None:
    """A free tag, another requester, a locked completion, nobody's tag, a second completion."""
    dut = channel(64)
    good = {"byte_count": 8, "lower_address": 0, "requester": REQUESTER, "tag": 4}

    async def client(ctx: Any) -> None:
        settle(ctx, dut)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.data_data.ready, 1)
        await ctx.tick().repeat(16)  # until all slots are cleared

        async def unexpected(packet: list[int]) -> bool:
            await send(ctx, dut.completion, tlp_beats(packet, 64))
            strobes = [(await ctx.tick().sample(dut.unexpected))[2] for _ in range(4)]
            assert sum(strobes) <= 1
            return any(strobes)

        assert await unexpected(completion([1, 2], **good))
        await send(ctx, dut.data_request, [{"address": 0x1000, "length": 8, "context": 1}])
        await ctx.tick().until(dut.o.valid)
        assert await unexpected(completion([1, 2], **(good | {"requester": REQUESTER ^ 1})))
        assert await unexpected(completion([1, 2], **good, locked=True))
        assert await unexpected(completion([1, 2], **(good | {"tag": 5})))
        assert await unexpected(completion([1, 2], **(good | {"tag": 0x104})))
        assert await unexpected(completion([1, 2], **(good | {"tag": 3}))), "another client's"
        assert await unexpected(completion([1, 2], **(good | {"tag": 12}))), "nobody's"
        assert not ctx.get(dut.data_data.valid)
        assert not await unexpected(completion([3, 4], **good))
        assert await unexpected(completion([5, 6], **good))

    async def sink(ctx: Any) -> None:
        (payload,) = await ctx.tick().sample(dut.data_data.payload).until(dut.data_data.valid)
        assert payload.data == 0x0000_0004_0000_0003 and payload.last and not payload.error

    simulate(dut, client, sink)


def test_without_bus_mastering_nothing_is_offered_but_an_offer_stands() -> None:
    """REQ: PCI Express Command register, Bus Master Enable."""
    dut = channel(64)

    async def client(ctx: Any) -> None:
        settle(ctx, dut, bus_master=0)
        await send(ctx, dut.data_request, [{"address": 0x1000, "length": 1024, "context": 1}])
        for _ in range(20):
            assert not (await ctx.tick().sample(dut.o.valid))[2]
        settle(ctx, dut)
        (offered,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
        settle(ctx, dut, bus_master=0)
        for _ in range(5):
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            assert valid and payload == offered
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        for _ in range(20):
            assert not (await ctx.tick().sample(dut.o.valid))[2]

    simulate(dut, client)


@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS))
def test_a_channel_for_whole_requests_reads_like_any_other(width: int, stall: float) -> None:
    requests = inside_blocks(width, 40 if stall < 0.9 else 8)
    host = ReadHost(width, limit=128, tags=range(4, 12), stall=stall, boundary=64, wait_for=3)
    assert run(channel(width, max_bytes=128, whole=True), host, requests) == whole(requests)
    assert len(host.reads) == len(requests)


@pytest.mark.parametrize("fault", STROBE)
def test_a_failed_whole_read_ends_no_other(fault: str) -> None:
    requests = inside_blocks(3, 6) + [(0x20000, 128)] + inside_blocks(4, 6)
    host = ReadHost(
        64,
        limit=128,
        tags=range(4, 12),
        boundary=64,
        fault=lambda tlp: fault if tlp.address == 0x20000 else None,
    )
    good = whole(requests)
    good[6] = (0x106, b"", True)
    dut = channel(64, max_bytes=128, whole=True, timeout=400)
    assert run(dut, host, requests, deadline=8000) == good


@pytest.mark.parametrize("kind", [{}, {"whole": True, "max_bytes": 128}], ids=["split", "whole"])
@pytest.mark.parametrize("answered", [True, False])
def test_a_flush_ends_idle_and_leaves_nothing_behind(answered: bool, kind: dict[str, Any]) -> None:
    """Trap 6: RESET-DEV-02. No data of before the flush comes out, whether completions come or not."""
    dut = channel(64, tags=4, timeout=300, **kind)
    longest = 128 if kind else 4096
    host = ReadHost(
        64,
        limit=256,
        tags=range(4, 8),
        wait_for=1 if kind else 4,
        fault=lambda tlp: None if answered or flushed else "lost",
    )
    flushed: list[int] = []

    async def client(ctx: Any) -> None:
        settle(ctx, dut)
        ctx.set(dut.completion_timeout_disable, 1)
        await send(ctx, dut.data_request, [{"address": 0x1000, "length": longest, "context": 1}])
        await ctx.tick().repeat(12)
        assert not ctx.get(dut.idle)
        ctx.set(dut.flush, 1)
        cycles = 0
        while not (await ctx.tick().sample(dut.idle))[2]:
            cycles += 1
            assert not ctx.get(dut.data_data.valid)
        assert cycles < (200 if answered else 420)
        assert len(host.reads) <= 4
        ctx.set(dut.data_request.valid, 1)
        assert ctx.get(dut.data_request.ready), "dropped"
        await ctx.tick()
        ctx.set(dut.data_request.valid, 0)
        ctx.set(dut.flush, 0)
        flushed.append(1)
        await send(ctx, dut.data_request, [{"address": 0x7003, "length": 77, "context": 9}])
        assert await collect(ctx, dut.data_data, 1, 64) == [(9, memory_bytes(0x7003, 77), False)]
        await ctx.tick().repeat(3)
        assert ctx.get(dut.idle)

    async def reads(ctx: Any) -> None:
        await host.take_reads(ctx, dut.o)

    async def completions(ctx: Any) -> None:
        await host.complete(ctx, dut.completion)

    simulate(dut, client, background=[reads, completions])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 96}, r"width must be one of 64, 128, 256, 512, not 96"),
        ({"tags": 0}, "tags 4 to 3 are not a range inside 0 to 255"),
        ({"tags": 253}, "tags 4 to 256 are not a range inside 0 to 255"),
        ({"first_tag": 32}, "tags must begin below 32 to work without extended tags, not at 32"),
        ({"max_bytes": 100}, "max_bytes must be a power of two from 128 to 4096, not 100"),
        ({"timeout": 3}, "timeout must be at least 16 cycles, not 3"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        channel(**changes)
