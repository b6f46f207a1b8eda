"""Network device: from the wire into chains."""

import random

import pytest
from helpers.net import ALL, CTRL_MAC_ADDR, CTRL_RX, CTRL_VQ, GUEST_CSUM, MRG_RXBUF, NetBench, header

WIDTHS = [64, 128, 256]
MIXTURE = [(64, 0.0), (256, 0.0), (128, 0.5), (256, 0.5), (64, 0.9)]  # of width and stall
PROMISC = bytes([0, 0, 1])


@pytest.mark.parametrize(("width", "stall"), MIXTURE)
def test_each_frame_comes_behind_a_header_in_a_chain_of_its_own(width, stall):
    """NET-DEV-032, NET-DEV-036, NET-DEV-040, NET-DEV-061, NET-DEV-065."""
    bench = NetBench(width, stall=stall, wire_stall=0.5)
    rng = random.Random(f"{width} {stall}")

    async def main(ctx):
        frames = [rng.randbytes(size) for size in rng.sample(range(14, 110), 40 if stall < 0.9 else 8)]
        jobs = []
        for frame in frames:
            jobs.append(bench.put(0, writable=12 + len(frame) + rng.choice([0, 0, 1, 40, 70000])))
            bench.wire.append((frame, {"checked": 1}))
        await bench.done(ctx, jobs)
        expected = [header(buffers=1) + frame for frame in frames]
        assert [job.written.hex() for job in jobs] == [data.hex() for data in expected]

    bench.run(main, deadline=40_000)


@pytest.mark.parametrize(("width", "stall"), MIXTURE)
def test_mergeable_chains_are_filled_one_after_the_other(width, stall):
    """NET-DEV-031, NET-DEV-037, NET-DEV-038; whatever the size of each, and none is given away."""
    bench = NetBench(width, MRG_RXBUF, stall=stall, wire_stall=0.5)
    rng = random.Random(f"{width} {stall}")

    async def main(ctx):
        frames = [rng.randbytes(rng.randint(14, 200)) for _ in range(30 if stall < 0.9 else 5)]
        jobs, pieces = [], []
        for frame in frames:
            total, rooms = 12 + len(frame), []
            while sum(rooms) < total:
                small = [rng.randint(12, 40)] if len(rooms) < 10 else [300]
                rooms.append(rng.choice([*small, 32, 64, 300]))
            data = header(buffers=len(rooms)) + frame
            for room in rooms:
                jobs.append(bench.put(0, writable=room))
                pieces.append(data[:room])
                data = data[room:]
            bench.wire.append(frame)
        await bench.done(ctx, jobs)
        assert [job.written.hex() for job in jobs] == [piece.hex() for piece in pieces]

    bench.run(main, deadline=80_000)


def test_all_chains_of_a_frame_but_the_last_say_that_there_is_more():
    """NET-DEV-039."""
    bench = NetBench(64, MRG_RXBUF)
    ends = []

    async def watch(ctx):
        port = bench.device.chains.writable
        async for *_, valid, ready, beat in ctx.tick().sample(port.valid, port.ready, port.p):
            assert beat.last or not beat.more or not valid
            if valid and ready and beat.last:
                ends.append(beat.more)

    bench.watchers.append(watch)

    async def main(ctx):
        jobs = [bench.put(0, writable=room) for room in (32, 20, 100, 72, 8, 24, 24, 24, 64)]
        for size in (80, 60, 60, 50):
            bench.wire.append(bytes(size))
        await bench.done(ctx, jobs)
        assert ends == [1, 1, 0, 0, 1, 1, 1, 0, 0]

    bench.run(main)


def test_a_frame_that_does_not_fit_is_lost_and_the_chain_stays_for_the_next_one():
    bench = NetBench(128)

    async def main(ctx):
        job = bench.put(0, writable=72)
        bench.wire += [bytes(61), bytes(1000), bytes([7]) * 60]
        await bench.host.until(ctx, job)
        assert job.written == header(buffers=1) + bytes([7]) * 60

    bench.run(main)


@pytest.mark.parametrize("width", WIDTHS)
def test_bad_and_long_frames_are_dropped(width):
    """NET-DEV-006: mtu and Ethernet header, with or without a VLAN tag."""
    bench = NetBench(width, mtu=100)
    plain, tag = bytes(12) + b"\x08\x00", bytes(12) + b"\x81\x00"
    wire = [
        (plain + bytes(100), True),
        (plain + bytes(101), False),
        (tag + bytes(104), True),
        (tag + bytes(105), False),
        (tag + bytes(900), False),
        (plain + bytes(50), True),
    ]

    async def main(ctx):
        jobs = [bench.put(0, writable=200) for _ in range(4)]
        for frame, _ in wire:
            bench.wire.append((frame, {"error": 1}))
            bench.wire.append(frame)
        await bench.done(ctx, jobs[:3])
        await bench.rest(ctx)
        assert [job.written[12:] for job in jobs[:3]] == [frame for frame, good in wire if good]
        assert not jobs[3].done

    bench.run(main)


@pytest.mark.parametrize("width", [64, 256])
def test_what_does_not_find_room_is_dropped_as_whole_frames(width):
    """Frames wait for chains as long as there is room for them, in order."""
    bench = NetBench(width, wire_stall=0.0, mtu=500, receive_bytes=2048, quota=32)

    async def main(ctx):
        frames = [bytes([number]) * (60 + 37 * (number % 9)) for number in range(30)]
        bench.wire += frames
        await bench.rest(ctx)
        jobs = [bench.put(0, writable=600) for _ in range(30)]
        await ctx.tick().repeat(700)
        got = [bytes(job.written[12:]) for job in jobs if job.done]
        assert 4 <= len(got) < 30
        assert sum(len(frame) for frame in got) > 1400
        assert [frame for frame in frames if frame in got] == got
        bench.wire += frames[:5]
        await bench.done(ctx, jobs[: len(got) + 5])
        assert [job.written[12:] for job in jobs[len(got) : len(got) + 5]] == frames[:5]

    bench.run(main)


def test_only_what_was_checked_is_said_to_be_valid():
    """NET-DEV-067, NET-DEV-068."""
    bench = NetBench(64, GUEST_CSUM)

    async def main(ctx):
        jobs = [bench.put(0, writable=200) for _ in range(4)]
        bench.wire += [(bytes(60), {"checked": n & 1}) for n in range(4)]
        await bench.done(ctx, jobs)
        assert [job.written[0] for job in jobs] == [0, 2, 0, 2]

    bench.run(main)


def test_before_driver_ok_frames_are_lost_even_if_they_end_behind_it():
    bench = NetBench(64)

    async def main(ctx):
        ctx.set(bench.device.driver_ok, 0)
        job = bench.put(0, writable=200)
        bench.wire += [bytes(60), bytes(400)]
        await ctx.tick().repeat(20)
        ctx.set(bench.device.driver_ok, 1)
        await bench.rest(ctx)
        assert not job.done
        bench.wire.append(bytes([9]) * 60)
        await bench.host.until(ctx, job)
        assert job.written[12:] == bytes([9]) * 60

    bench.run(main)


def test_a_chain_with_readable_bytes_is_given_back_unused():
    bench = NetBench(64, stall=0.3)

    async def main(ctx):
        odd = bench.put(0, b"not for this queue", 100)
        job = bench.put(0, writable=100)
        await bench.host.until(ctx, odd)
        assert odd.written == b""
        bench.wire.append(bytes(60))
        await bench.host.until(ctx, job)
        assert job.written[12:] == bytes(60)

    bench.run(main)


def test_a_pair_without_chains_does_not_hold_up_another_one_for_long():
    """Frames for pair 1, which has none, are dropped after a while, and soon all at once."""
    bench = NetBench(64, *ALL, pairs=2, patience=200)
    end = bytes.fromhex("0a0000010a000002")
    flow = bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(2) + end + b"\x11\x11\x22\x22" + bytes(30)

    async def main(ctx):
        assert await bench.command(ctx, PROMISC) == 0
        assert await bench.command(ctx, bytes([4, 0, 2, 0])) == 0
        await bench.host.until(ctx, bench.send(flow, pair=1))
        jobs = [bench.put(0, writable=100) for _ in range(4)]
        for _ in range(4):
            bench.wire += [flow, flow, bytes(60)]
        begin = bench.cycle
        await bench.done(ctx, jobs)
        assert bench.cycle - begin < 450
        late = bench.put(2, writable=100)
        bench.wire.append(flow)
        await bench.host.until(ctx, late)
        assert late.written[12:] == flow

    bench.run(main)


def test_a_frame_that_holds_up_no_other_pair_waits_for_a_chain_however_long():
    bench = NetBench(64, patience=20)

    async def main(ctx):
        bench.wire += [bytes([n]) * 60 for n in range(6)]
        await ctx.tick().repeat(600)
        jobs = [bench.put(0, writable=100) for _ in range(6)]
        await bench.done(ctx, jobs)
        assert [job.written[12] for job in jobs] == [0, 1, 2, 3, 4, 5]

    bench.run(main)


@pytest.mark.parametrize(("width", "cycles"), [(64, 10), (128, 6), (256, 5)])
def test_frames_of_64_bytes_are_received_at_the_rate_that_is_promised(width, cycles):
    bench = NetBench(width, MRG_RXBUF, CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR, quota=64)

    async def main(ctx):
        jobs = [bench.put(0, writable=128) for _ in range(60)]
        await ctx.tick().repeat(200)
        frame = bytes.fromhex("02aabbccddee") + bytes(58)
        bench.wire += [frame] * 60
        await bench.host.until(ctx, jobs[10])
        begin = bench.cycle
        await bench.host.until(ctx, jobs[50])
        assert bench.cycle - begin <= 40 * cycles

    bench.run(main)
