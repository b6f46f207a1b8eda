"""Network device as a whole."""

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth_virtio.devices.mac_loop import MacCrossover, MacLoopback
from amaranth_virtio.devices.net import NetDevice
from helpers.chains import Job
from helpers.net import ALL, GUEST_CSUM, MAC, MRG_RXBUF, NetBench, NetHost, header, reference
from helpers.simulation import simulate
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from virtio_models.kind import Waiting
from virtio_spec.virtio_pci import Interface

PROMISC = bytes([0, 0, 1])


def pairs_set(count: int) -> bytes:
    """VQ_PAIRS_SET."""
    return b"\4\0" + count.to_bytes(2, "little")


def conversation(number: int) -> tuple[bytes, bytes]:
    """A frame and one of the other direction; no two conversations have the same hash."""
    kind = number % 6
    if kind == 5:
        one, other = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 7, number])
        rest = b"\x88\xb5" + bytes(46)
        return one + other + rest, other + one + rest
    tag: Any = Dot1Q(vlan=number) if number & 1 else None
    made = []
    for here, there, sport, dport in ((1, 2, 1000, 80 + number), (2, 1, 80 + number, 1000)):
        if kind in (0, 3):
            network: Any = IP(src=f"10.0.{number}.{here}", dst=f"10.0.{number}.{there}")
        else:
            network = IPv6(src=f"fd00::{number:x}:{here}", dst=f"fd00::{number:x}:{there}")
        segment = TCP(sport=sport, dport=dport) if kind < 3 else UDP(sport=sport, dport=dport)
        ether = Ether(dst=f"02:00:00:00:00:0{there}", src=f"02:00:00:00:00:0{here}")
        made.append(bytes((ether / tag if tag is not None else ether) / network / segment / bytes(8)))
    return made[0], made[1]


@pytest.mark.parametrize(("width", "mergeable"), [(64, True), (128, True), (256, True), (128, False)])
def test_random_traffic_on_three_pairs_is_as_on_the_reference(width, mergeable):
    """Flows come back on the pair that they were last sent on; buffers of any size; all frames in order."""
    rng = random.Random(f"{width} {mergeable}")
    features = [feature for feature in ALL if mergeable or feature != MRG_RXBUF]
    bench = NetBench(width, *features, stall=0.2, pairs=3, quota=32)
    model = reference(*features, pairs=3)
    flows = [conversation(number) for number in range(9)]

    async def main(ctx):
        for data in (PROMISC, pairs_set(3)):
            model.serve(6, [Waiting(data, 1)], rng)
            assert await bench.command(ctx, data) == 0
        for _ in range(3):
            if rng.random() < 0.5:
                data = pairs_set(rng.randint(1, 3))
                model.serve(6, [Waiting(data, 1)], rng)
                assert await bench.command(ctx, data) == 0
            for there, _ in rng.sample(flows, 6):
                pair = rng.randrange(3)
                frame = there + rng.randbytes(rng.randint(0, 30))
                model.serve(2 * pair + 1, [Waiting(header() + frame, 0)], rng)
                await bench.host.until(ctx, bench.send(frame, pair=pair))
            jobs: list[list[Job]] = [[], [], []]
            rooms = [[rng.choice([32, 64, 70, 100]) for _ in range(28)] + [300] for _ in range(3)]
            if not mergeable:
                rooms = [[rng.choice([90, 128, 160]) for _ in range(28)] for _ in range(3)]
            for pair in range(3):
                jobs[pair] = [bench.put(2 * pair, writable=room) for room in rooms[pair]]
            await ctx.tick().repeat(40)
            for _, back in rng.choices(flows, k=8):
                frame, checked = back + rng.randbytes(rng.randint(0, 40)), rng.randrange(2)
                model.receive(frame, checked=bool(checked))
                bench.wire.append((frame, {"checked": checked}))
            await bench.rest(ctx)
            for pair in range(3):
                expected: list[bytes] = []
                while written := model.serve(
                    2 * pair, [Waiting(b"", room) for room in rooms[pair][len(expected) :]], rng
                ):
                    expected += [piece for _, piece in written]
                await bench.done(ctx, jobs[pair][: len(expected)])
                done = [job for job in jobs[pair] if job.done]
                assert done == jobs[pair][: len(done)]
                assert [job.written.hex() for job in done] == [piece.hex() for piece in expected]
                # What is left of the queue is taken back.
                ctx.set(bench.device.chains.retire_queue, 2 * pair)
                ctx.set(bench.device.chains.retire, 1)
                await bench.done(ctx, jobs[pair])
                assert all(job.written == b"" for job in jobs[pair][len(done) :])
                ctx.set(bench.device.chains.retire, 0)
                await ctx.tick().repeat(8)
            assert bench.sent == model.network.sent

    bench.run(main, deadline=40_000)


def test_the_other_queues_go_on_while_one_is_reset():
    """Chains of it are given back, those too that come yet. (NET-DEV-114, NET-DEV-115)

    Until it has others, its frames go to another pair, and nowhere if there is none.
    """
    bench = NetBench(64, *ALL, pairs=2, quota=8)
    there, back = conversation(0)

    async def main(ctx):
        chains = bench.device.chains
        for data in (PROMISC, pairs_set(2)):
            assert await bench.command(ctx, data) == 0
        await bench.host.until(ctx, bench.send(there, pair=1))
        held = [bench.put(2, writable=100) for _ in range(6)]
        mine = [bench.put(0, writable=300) for _ in range(8)]
        await ctx.tick().repeat(60)
        assert not any(job.done for job in held)
        ctx.set(chains.retire_queue, 2)
        ctx.set(chains.retire, 1)
        await ctx.tick().repeat(3)
        bench.wire += [back] * 8
        late = [bench.put(2, writable=100) for _ in range(12)]
        await bench.done(ctx, [*held, *late, *mine])
        assert all(job.written == b"" for job in held + late)
        assert all(job.written[12:] == back for job in mine)
        ctx.set(chains.retire, 0)
        await ctx.tick().repeat(8)
        other = bench.put(0, writable=300)
        bench.wire.append(back)
        await bench.host.until(ctx, other)
        assert other.written[12:] == back
        ctx.set(chains.retire_queue, 0)
        ctx.set(chains.retire, 1)
        await ctx.tick().repeat(8)
        ctx.set(chains.retire, 0)
        bench.wire.append(back)  # for which there is no queue, and which is lost
        await ctx.tick().repeat(60)
        job = bench.put(2, writable=100)
        await ctx.tick().repeat(60)
        assert not job.done
        bench.wire.append(back)
        await bench.host.until(ctx, job)
        assert job.written[12:] == back

    bench.run(main)


def test_a_queue_can_be_reset_while_the_mac_takes_nothing():
    """Frames that find no room are dropped then, and those in the buffer are sent later."""
    bench = NetBench(64, mtu=500, transmit_bytes=2048)

    async def main(ctx):
        bench.blocked = True
        frames = [bytes([number]) * 500 for number in range(12)]
        jobs = [bench.send(frame) for frame in frames]
        await ctx.tick().repeat(900)
        assert not jobs[-1].done
        ctx.set(bench.device.chains.retire_queue, 1)
        ctx.set(bench.device.chains.retire, 1)
        await bench.done(ctx, jobs)
        ctx.set(bench.device.chains.retire, 0)
        bench.blocked = False
        await ctx.tick().repeat(700)
        assert 3 <= len(bench.sent) < 12
        assert bench.sent == frames[: len(bench.sent)]

    bench.run(main)


@pytest.mark.parametrize("after", range(0, 24, 5))
def test_a_reset_at_any_time_leaves_nothing_behind(after):
    bench = NetBench(128, MRG_RXBUF, stall=0.1)

    async def main(ctx):
        for _ in range(6):
            bench.put(0, writable=60)
            bench.send(bytes(200))
            bench.wire.append(bytes(100))
        await ctx.tick().repeat(after + 8)
        await bench.reset(ctx)
        await bench.rest(ctx)
        bench.sent.clear()
        await bench.reset(ctx)
        jobs = [bench.put(0, writable=200) for _ in range(2)]
        frames = [bytes([n]) * 64 for n in range(2)]
        for frame in frames:
            bench.send(frame)
            bench.wire.append(frame)
        await bench.done(ctx, jobs)
        assert [job.written for job in jobs] == [header(buffers=1) + frame for frame in frames]
        await ctx.tick().repeat(40)
        assert bench.sent == frames

    bench.run(main)


def test_the_configuration_follows_the_link_and_keeps_the_speed_while_it_is_up():
    """NET-DEV-011, NET-DEV-012, NET-DEV-013."""
    bench = NetBench(64, mtu=1400, pairs=2)
    changes = []

    async def watch(ctx):
        async for *_, changed in ctx.tick().sample(bench.device.config_changed):
            changes.append(changed)

    bench.watchers.append(watch)

    async def main(ctx):
        config, port = bench.device.config, bench.device.mac_port
        assert (ctx.get(config.mtu), ctx.get(config.max_virtqueue_pairs), ctx.get(config.duplex)) == (
            1400,
            2,
            1,
        )
        assert ctx.get(config.mac).to_bytes(6, "little") == MAC
        told = 0
        for up, speed, status, shown in ((0, 10, 0, 10), (1, 100, 1, 100), (1, 7, 1, 100), (0, 7, 0, 7)):
            ctx.set(port.link_up, up)
            ctx.set(port.speed, speed)
            await ctx.tick().repeat(4)
            assert (ctx.get(config.status), ctx.get(config.speed)) == (status, shown)
            assert sum(changes) > told or (up, speed) == (1, 7)
            told = sum(changes)

    bench.run(main)


def test_two_devices_talk_to_each_other_over_a_crossover():
    width = 128
    m = Module()
    devices = [NetDevice(width=width, quota=16) for _ in range(2)]
    m.submodules += devices
    m.submodules.cable = cable = MacCrossover(width=width)
    wiring.connect(m, devices[0].mac_port, cable.a)
    wiring.connect(m, devices[1].mac_port, cable.b)
    hosts = [NetHost(device, quota=16, seed=n) for n, device in enumerate(devices)]
    frames = [[bytes([n, k]) * 90 for k in range(8)] for n in range(2)]

    async def main(ctx):
        for device in devices:
            ctx.set(device.driver_ok, 1)
        jobs = [[host.put(Job(b"", 300)) for _ in range(8)] for host in hosts]
        for n in range(2):
            for frame in frames[n]:
                hosts[n].put(Job(header() + frame, 0, queue=1))
        for n in range(2):
            for job in jobs[n]:
                await hosts[n].until(ctx, job)
            assert [job.written[12:] for job in jobs[n]] == frames[1 - n]

    simulate(m, main, background=[bench for host in hosts for bench in host.benches])


def test_what_is_sent_comes_back_over_a_loopback():
    m = Module()
    m.submodules.device = device = NetDevice(width=64)
    m.submodules.loop = loop = MacLoopback(width=64, checked=True)
    wiring.connect(m, device.mac_port, loop.port)
    host = NetHost(device, quota=16)

    async def main(ctx):
        ctx.set(device.driver_ok, 1)
        ctx.set(device.features, 1 << GUEST_CSUM)
        job = host.put(Job(b"", 300))
        host.put(Job(header() + bytes(range(200)), 0, queue=1))
        await host.until(ctx, job)
        assert job.written == header(2, buffers=1) + bytes(range(200))
        assert ctx.get(device.config.status) == 1

    simulate(m, main, background=host.benches)


def test_what_it_declares():
    table = NetDevice(width=64, pairs=4).table
    assert (table.device_type, table.queues, table.interfaces) == (1, 9, (Interface.MODERN,))
    assert sorted(n for n in range(64) if table.features >> n & 1) == [0, 1, 3, 5, 15, 16, 17, 18, 22, 23, 63]
    assert not NetDevice(width=64).table.features >> 22 & 1
    assert table.requires == {18: (17,), 23: (17,), 22: (17,)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 0}, "pairs must be 1 to 127, not 0"),
        ({"pairs": 128}, "pairs must be 1 to 127, not 128"),
        ({"mtu": 67}, "mtu must be 68 to 65535, not 67"),
        ({"patience": 0}, "patience must be 1 to 1048576, not 0"),
        (
            {"mac": bytes([1, 0, 0, 0, 0, 0])},
            "mac must be 6 octets and not a group address, not 01:00:00:00:00:00",
        ),
        ({"mac": b"abc"}, "mac must be 6 octets and not a group address, not 61:62:63"),
        (
            {"receive_bytes": 3000},
            "receive_bytes must be a power of two of at least 2048, and two frames, not 3000",
        ),
        (
            {"transmit_bytes": 2048},
            "transmit_bytes must be a power of two of at least 2048, and two frames, not 2048",
        ),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError) as raised:
        NetDevice(width=64, **arguments)
    assert str(raised.value) == message
