"""The entropy device."""

from ..devices.rng import VirtioRng
from ..host import HostTimeout
from .helpers import in_order, same
from .registry import Bench, case

__all__: list[str] = []

#: No healthy source repeats a byte that often.
LONGEST_RUN = 32


def longest_run(data: bytes) -> int:
    """Length of the longest run of equal bytes."""
    best = run = 0
    for position, byte in enumerate(data):
        run = run + 1 if position and data[position - 1] == byte else 1
        best = max(best, run)
    return best


@case(devices=("rng",), proves=("ENT-DEV-01", "SPLIT-DEV-16"), traps=(1,))
async def bytes_are_those_of_the_noise_source(bench: Bench) -> None:
    rng, position = VirtioRng(await bench.start()), len(bench.entropy.history)
    position = max(position - 4096, 0)  # what was fetched ahead is still good
    for length in (8, 33, 64, 17):
        request = await rng.submit(length)
        await rng.wait(request)
        position = in_order(bench, request.written, position)


@case(devices=("rng",), proves=("ENT-DEV-01", "SPLIT-DEV-P03"))
async def a_buffer_of_any_length_gets_bytes(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    for length in (1, 2, 3, 4, 5, 7, 15, 16, 31):
        request = await rng.submit(length)
        await rng.wait(request)
        behind = request.content[request.used :]
        same(behind, b"\xa5" * len(behind), f"bytes behind the used length of a buffer of {length}")


@case(devices=("rng",), proves=("ENT-DEV-01", "SPLIT-DEV-01"), traps=(13,))
async def bytes_go_into_buffers_of_any_framing(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    start = max(len(bench.entropy.history) - 4096, 0)
    for _ in range(3):
        request = await rng.submit(*(bench.rng.randrange(1, 20) for _ in range(bench.rng.randrange(2, 9))))
        await rng.wait(request)
        start = in_order(bench, request.written, start)


@case(devices=("rng",), proves=("ENT-DEV-01",))
async def no_two_buffers_get_the_same_bytes(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    requests = [await rng.submit(16) for _ in range(6)]
    await rng.wait(*requests)
    pieces = [request.written[:8] for request in requests]
    for piece in pieces:
        in_order(bench, piece, 0)
    same(len(set(pieces)), len(pieces), "number of different answers")


@case(devices=("rng",), proves=("ENT-DEV-01",))
async def more_than_a_packet_comes_whole(bench: Bench) -> None:
    rng, start = VirtioRng(await bench.start()), max(len(bench.entropy.history) - 4096, 0)
    request = await rng.submit(300, 200)
    await rng.wait(request)
    in_order(bench, request.written, start)


async def asked_in_vain(bench: Bench, rng: VirtioRng) -> bytes:
    """What a device with a bad source gives out of what it still has, until it stops."""
    got = b""
    for _ in range(12):
        request = await rng.submit(256)
        try:
            await rng.wait(request, timeout_ns=12_000)
        except HostTimeout:
            return got
        got += request.written
    raise AssertionError(f"{len(got)} bytes came although the source is bad")


async def works_again(bench: Bench) -> None:
    """With a good source and after a reset there are good bytes."""
    bench.entropy.heal()
    start = len(bench.entropy.history)
    data = await VirtioRng(await bench.start()).read(32)
    in_order(bench, data, start)


@case(devices=("rng",), needs=("health_tests",), proves=("ENT-DEV-01",))
async def a_stuck_source_gives_nothing(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    bench.entropy.stick(bench.rng.randrange(256))
    got = await asked_in_vain(bench, rng)
    if longest_run(got) >= LONGEST_RUN:
        raise AssertionError(f"{longest_run(got)} equal bytes came from a source that is stuck")
    await works_again(bench)


@case(devices=("rng",), needs=("health_tests",), proves=("ENT-DEV-01",))
async def a_biased_source_gives_nothing(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    bench.entropy.bias(0x42, 0.85)
    got = await asked_in_vain(bench, rng)
    if got.count(0x42) > 16 + len(got) // 8:
        raise AssertionError(f"{got.count(0x42)} of {len(got)} bytes are what the source is biased to")
    await works_again(bench)


@case(devices=("rng",), needs=("health_tests",), proves=("ENT-DEV-01",))
async def a_request_waits_for_a_source_to_recover(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    bench.entropy.stick(0)
    await asked_in_vain(bench, rng)
    bench.entropy.heal()
    await rng.device.host.until(lambda: rng.device.queues[rng.QUEUE].has_used, timeout_ns=100_000)
    (request,) = rng.device.collect()
    if longest_run(request.written) >= LONGEST_RUN:
        raise AssertionError("bytes of the source while it was stuck came after all")
