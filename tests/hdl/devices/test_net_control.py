"""Network device: commands, and the filter that they set."""

import random

import pytest
from helpers.net import ALL, CSUM, CTRL_MAC_ADDR, CTRL_RX, CTRL_VQ, MAC, MQ, NetBench, reference
from virtio_models.kind import Waiting

BROADCAST = b"\xff" * 6


def table(unicast: list[bytes], multicast: list[bytes]) -> bytes:
    """MAC_TABLE_SET, VIRTIO 1.4 §5.1.6.5.2."""
    return b"\1\0" + b"".join(
        len(entries).to_bytes(4, "little") + b"".join(entries) for entries in (unicast, multicast)
    )


def addresses(rng: random.Random, count: int, group: int) -> list[bytes]:
    """Addresses that differ from each other in little."""
    first = rng.randbytes(5)
    return [bytes([0x10 | group]) + first[:4] + bytes([number]) for number in rng.sample(range(256), count)]


def commands(rng: random.Random, pairs: int) -> list[bytes]:
    """Good ones and others of every kind."""
    good = [
        *(bytes([0, kind, value]) for kind in (0, 1) for value in (0, 1)),
        b"\1\1" + bytes([2]) + rng.randbytes(5),
        *(table(addresses(rng, n, 0), addresses(rng, k, 1)) for n, k in ((0, 0), (3, 2), (16, 16), (0, 17))),
        table(addresses(rng, 20, 0), addresses(rng, 1, 1)),
        *(b"\4\0" + number.to_bytes(2, "little") for number in range(pairs + 1)),
    ]
    long = table(addresses(rng, 2, 0), addresses(rng, 2, 1))
    bad = [
        b"\0",
        b"\0\0",
        b"\0\0\2",
        b"\0\0\1\0",
        b"\0\2\1",
        b"\1\2" + bytes(6),
        b"\2\0" + bytes(2),
        b"\1\1" + bytes(5),
        b"\1\1" + bytes(7),
        b"\4\0\1",
        b"\4\0\1\0\0",
        b"\4\1\1\0",
        b"\4\0" + (pairs + 1).to_bytes(2, "little"),
        b"\4\0\1\1",
        long + b"\0",
        b"\1\0\0\0\1\0" + bytes(30),
        *(long[:size] for size in rng.sample(range(2, len(long)), 6)),
    ]
    return good + bad


@pytest.mark.parametrize(("width", "stall"), [(64, 0.0), (128, 0.5), (256, 0.0), (64, 0.9)])
def test_answers_and_what_passes_then_are_those_of_the_reference(width, stall):
    """Random commands, and frames to addresses in and out of the tables between them."""
    features = (CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR, MQ)
    bench = NetBench(width, *features, stall=stall, wire_stall=0.0, pairs=3, quota=64)
    model = reference(*features, pairs=3)
    rng = random.Random(f"{width} {stall}")

    async def main(ctx):
        known = [MAC, BROADCAST, b"\2\3\4\5\6\7", b"\3\3\4\5\6\7"]
        for _ in range(12 if stall == 0 else 4):
            for data in rng.sample(commands(rng, 3), 3):
                ((_, (answer,)),) = model.serve(6, [Waiting(data, 1)], rng)
                assert (data, await bench.command(ctx, data)) == (data, answer)
                if data[:2] == b"\1\0" and answer == 0:
                    known += [data[n : n + 6] for n in (6, 12, len(data) - 6) if len(data[n : n + 6]) == 6]
            config = ctx.get(bench.device.config.mac).to_bytes(6, "little")
            assert config == model.mac
            frames = [address + bytes(40) for address in rng.sample(known, min(len(known), 8))]
            jobs = [bench.put(0, writable=100) for _ in range(8)]
            wanted = []
            for frame in frames:
                before = len(model._backlog[0])
                model.receive(frame)
                if len(model._backlog[0]) > before:
                    wanted.append(frame)
                    model._backlog[0].clear()
                bench.wire.append(frame)
            await bench.rest(ctx, 60 if stall == 0 else 800)
            got = [bytes(job.written[12:]) for job in jobs if job.done]
            assert [frame[:6].hex() for frame in got] == [frame[:6].hex() for frame in wanted]
            # The chains that are left go to frames to all.
            bench.wire += [BROADCAST + bytes(40)] * (8 - len(got))
            await bench.done(ctx, jobs)

    bench.run(main, deadline=60_000)


@pytest.mark.parametrize("accepted", [(), (CTRL_VQ,), (CTRL_VQ, CTRL_RX), (CTRL_VQ, CTRL_MAC_ADDR)])
def test_commands_of_features_that_were_not_accepted_are_errors(accepted):
    bench = NetBench(64, *accepted)

    async def main(ctx):
        filters = int(CTRL_RX not in accepted)
        assert await bench.command(ctx, b"\0\0\0") == filters
        assert await bench.command(ctx, table([], [])) == filters
        assert await bench.command(ctx, b"\1\1\2\0\0\0\0\0") == int(CTRL_MAC_ADDR not in accepted)
        assert await bench.command(ctx, b"\4\0\1\0") == 1
        job = bench.put(0, writable=100)
        bench.wire += [b"\2\2\2\2\2\2" + bytes(50), MAC + bytes(50), BROADCAST + bytes(50)]
        await bench.host.until(ctx, job)
        passed = BROADCAST if CTRL_MAC_ADDR in accepted and CTRL_RX in accepted else MAC
        assert job.written[12:18] == (passed if CTRL_RX in accepted else b"\2\2\2\2\2\2")

    bench.run(main)


def test_without_mq_the_control_queue_is_number_2():
    """NET-DEV-P02. What comes on the queue that it would be with MQ is given back."""
    bench = NetBench(64, CTRL_VQ, CTRL_RX, pairs=2)

    async def main(ctx):
        assert await bench.command(ctx, b"\0\0\1", queue=2) == 0
        stray = [bench.put(4, b"\0\0\0", 1), bench.put(4, b"", 100)]
        await bench.done(ctx, stray)
        assert [job.written for job in stray] == [b"", b""]
        job = bench.put(0, writable=100)
        bench.wire.append(b"\2\2\2\2\2\2" + bytes(50))
        await bench.host.until(ctx, job)

    bench.run(main)


@pytest.mark.parametrize("width", [64, 256])
def test_a_command_that_cannot_be_read_or_answered_does_no_harm(width):
    bench = NetBench(width, *ALL[3:], stall=0.3)

    async def main(ctx):
        broken = bench.put(2, b"\0\0\1" + bytes(40), 1, fails_at=3 if width == 256 else 0)
        mute = bench.put(2, b"\0\1\1", 0)
        empty = bench.put(2, b"", 1)
        nothing = bench.put(2, b"", 0)
        assert await bench.command(ctx, b"\0\0\0") == 0
        assert [job.written for job in (broken, mute, empty, nothing)] == [b"\1", b"", b"\1", b""]
        job = bench.put(0, writable=100)
        bench.wire += [b"\2\2\2\2\2\2" + bytes(50), b"\3\2\2\2\2\2" + bytes(50)]
        await bench.host.until(ctx, job)
        assert job.written[12] == 3

    bench.run(main)


def test_a_reset_takes_back_all_that_was_set():
    bench = NetBench(64, *ALL, CSUM, pairs=2)

    async def main(ctx):
        config = bench.device.config
        for data in (b"\0\0\1", b"\0\1\1", b"\1\1\2\0\0\0\0\0", table([], [b"\3\0\0\0\0\1"]), b"\4\0\2\0"):
            assert await bench.command(ctx, data) == 0
        assert ctx.get(config.mac) == 2
        await bench.reset(ctx)
        assert ctx.get(config.mac).to_bytes(6, "little") == MAC
        job = bench.put(0, writable=100)
        bench.wire += [b"\2\2\2\2\2\2" + bytes(50), b"\3\0\0\0\0\1" + bytes(50), MAC + bytes(50)]
        await bench.host.until(ctx, job)
        assert job.written[12:18] == MAC

    bench.run(main)
