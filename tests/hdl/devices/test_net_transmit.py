"""Network device: from chains to the wire."""

import random
from typing import Any

import pytest
from helpers.net import ALL, CSUM, NetBench, header
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

WIDTHS = [64, 128, 256]
MIXTURE = [(64, 0.0), (256, 0.0), (128, 0.5), (256, 0.5), (64, 0.9)]  # of width and stall


def partial(size: int, network: Any, segment: Any) -> tuple[bytes, bytes]:
    """A frame with just the sum of the pseudo-header, and the whole header that says so; and the frame."""
    payload = random.Random(size).randbytes(size)
    right = bytes(Ether(dst="02:00:00:00:00:02") / network / segment / payload)
    start = 14 + len(network)
    offset = 16 if isinstance(segment, TCP) else 6
    # All words from there on and the pseudo-header come to 0.
    words = right[start:] + bytes(len(right) - start & 1)
    pseudo = -sum(int.from_bytes(words[n : n + 2], "big") for n in range(0, len(words), 2)) % 0xFFFF
    frame = bytearray(right)
    frame[start + offset : start + offset + 2] = pseudo.to_bytes(2, "big")
    return header(1, start, offset) + bytes(frame), right


@pytest.mark.parametrize(("width", "stall"), MIXTURE)
def test_frames_of_every_length_are_sent_without_their_header_and_nothing_is_written_back(width, stall):
    """Trap 13: the header is the first 12 bytes, whatever the descriptors."""
    bench = NetBench(width, stall=stall)
    rng = random.Random(f"{width} {stall}")
    sizes = [*range(1, 70), 1514, 1518] if stall == 0 else rng.sample(range(1, 90), 12)

    async def main(ctx):
        frames = [rng.randbytes(size) for size in sizes]
        jobs = [bench.send(frame) for frame in frames]
        await bench.done(ctx, jobs)
        while len(bench.sent) < len(frames):
            await ctx.tick()
        assert bench.sent == frames
        assert all(job.written == b"" for job in jobs)

    bench.run(main)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_checksum_that_is_asked_for_is_what_scapy_computes(width):
    """NET-DEV-016, NET-DEV-017: without the flag the fields do not count."""
    bench = NetBench(width, CSUM)
    segments = [TCP(dport=80), UDP(dport=53, sport=1234)]

    async def main(ctx):
        pairs = [
            partial(size, network, segment)
            for network in (IP(dst="10.0.0.2"), IPv6(dst="fd00::2"))
            for segment in segments
            for size in (0, 1, 2, 18, 33, 157)
        ]
        for chain, _ in pairs:
            bench.put(1, chain)
        plain = random.Random(1).randbytes(60)
        bench.send(plain, head=header(2, 14, 6))
        while len(bench.sent) <= len(pairs):
            await ctx.tick()
        assert [frame and frame.hex() for frame in bench.sent] == [right.hex() for _, right in pairs] + [
            plain.hex()
        ]

    bench.run(main)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_checksum_may_begin_and_stand_anywhere(width):
    """Odd positions too, and a sum of 0 becomes 0xFFFF. Expected: RFC 1071 in a few lines."""
    bench = NetBench(width, CSUM)
    rng = random.Random(width)

    def completed(frame: bytes, start: int, offset: int) -> bytes | None:
        if start + offset + 2 > len(frame):
            return None
        data = frame[start:] + bytes(1)
        total = sum(data[n] << 8 | data[n + 1] for n in range(0, len(data) - 1, 2))
        checksum = 0xFFFF - total % 0xFFFF if total else 0xFFFF
        return frame[: start + offset] + checksum.to_bytes(2, "big") + frame[start + offset + 2 :]

    async def main(ctx):
        cases = [(bytes(40), 3, 4), (b"\xff" * 41, 1, 2), (b"\1\2", 0, 0), (b"\1\2", 0, 1), (b"\1\2\3", 1, 0)]
        for _ in range(60):
            size = rng.randint(2, 100)
            start = rng.randint(0, size)
            cases.append((rng.randbytes(size), start, rng.randint(0, max(0, size - start))))
        cases += [(bytes(60), 65535, 65535), (bytes(60), 58, 65534), (bytes(60), 65530, 40)]
        jobs = [bench.send(frame, head=header(1, start, offset)) for frame, start, offset in cases]
        await bench.done(ctx, jobs)
        await ctx.tick().repeat(60)
        expected = [frame for case in cases if (frame := completed(*case)) is not None]
        assert [frame and frame.hex() for frame in bench.sent] == [frame.hex() for frame in expected]

    bench.run(main)


def test_without_the_feature_a_checksum_is_not_completed():
    bench = NetBench(64)

    async def main(ctx):
        frame = bytes(range(60))
        await bench.host.until(ctx, bench.send(frame, head=header(1, 14, 6)))
        await ctx.tick().repeat(40)
        assert bench.sent == [frame]

    bench.run(main)


@pytest.mark.parametrize(("width", "stall"), MIXTURE)
def test_what_is_no_whole_frame_is_dropped_and_its_chain_completed(width, stall):
    """Broken off at any place, too short, too long, or with nothing in it; frames around it are sent."""
    bench = NetBench(width, *ALL, stall=stall, mtu=100)
    rng = random.Random(f"{width} {stall}")

    async def main(ctx):
        bad = [
            *((header() + rng.randbytes(60), {"fails_at": at}) for at in (0, 8, 16, 32, 64)),
            (b"", {}),
            (header()[:5], {}),
            (header(), {}),
            (header() + rng.randbytes(190), {}),
            (header() + rng.randbytes(400), {}),
        ]
        rng.shuffle(bad)
        jobs, frames = [], []
        for number, (chain, special) in enumerate(bad):
            jobs.append(bench.put(1, chain, rng.choice([0, 3]), **special))
            if number % 3 != 2:
                frames.append(rng.randbytes(rng.randint(1, 118)))
                jobs.append(bench.send(frames[-1]))
        await bench.done(ctx, jobs)
        while len(bench.sent) < len(frames):
            await ctx.tick()
        await ctx.tick().repeat(30)
        assert bench.sent == frames
        assert all(job.written == b"" for job in jobs)

    bench.run(main)


@pytest.mark.parametrize(("width", "stall"), MIXTURE)
def test_a_frame_with_both_tunnel_bits_is_dropped_and_its_chain_completed(width, stall):
    """NET-DEV-023; gso_type without the other bit, or with others, changes nothing."""
    bench = NetBench(width, *ALL, stall=stall)
    rng = random.Random(f"{width} {stall}")
    kinds = [0x60, 0x20, 0x40, 0x61, 0xFF, 0x9F, 0xE4, 1]

    async def main(ctx):
        frames = {kind: rng.randbytes(rng.randint(1, 70)) for kind in kinds}
        jobs = [bench.put(1, bytes([0, kind]) + bytes(10) + frame) for kind, frame in frames.items()]
        await bench.done(ctx, jobs)
        await ctx.tick().repeat(300)
        assert bench.sent == [frames[kind] for kind in (0x20, 0x40, 0x9F, 1)]

    bench.run(main)


def test_a_slow_mac_holds_frames_up_and_loses_none():
    bench = NetBench(64, wire_stall=0.9, mtu=500, transmit_bytes=2048)

    async def main(ctx):
        frames = [bytes([number]) * (60 + 90 * (number % 5)) for number in range(20)]
        for frame in frames:
            bench.send(frame)
        while len(bench.sent) < len(frames):
            await ctx.tick()
        assert bench.sent == frames

    bench.run(main)


@pytest.mark.parametrize(("width", "cycles"), [(64, 10), (128, 5), (256, 4)])
def test_frames_of_64_bytes_are_sent_back_to_back(width, cycles):
    bench = NetBench(width, *ALL, quota=32)

    async def main(ctx):
        for number in range(60):
            bench.send(bytes([number]) * 64, head=header(1, 14, 6))
        while len(bench.sent) < 60:
            await ctx.tick()
        spent = bench.ends[50] - bench.ends[10]
        assert spent <= 40 * cycles

    bench.run(main)


@pytest.mark.parametrize(("width", "taken"), [(64, 0), (64, 2), (256, 0), (256, 1)])
def test_a_frame_that_was_begun_ends_with_an_error_when_the_device_is_reset(width, taken):
    bench = NetBench(width)

    async def main(ctx):
        for _ in range(3):
            bench.send(bytes(300))
        bench.blocked = True
        await ctx.tick().repeat(150)
        for _ in range(taken):
            bench.blocked = False
            await ctx.tick()
            bench.blocked = True
        ctx.set(bench.device.chains.reset, 1)
        await ctx.tick().repeat(300)
        assert not ctx.get(bench.device.chains.idle)
        bench.blocked = False
        await bench.reset(ctx)
        frame = bytes(range(80))
        await bench.host.until(ctx, bench.send(frame))
        await ctx.tick().repeat(50)
        assert bench.sent == [None, frame]

    bench.run(main)
