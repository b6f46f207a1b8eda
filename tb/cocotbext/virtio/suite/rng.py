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


@case(devices=("rng",), proves=("ENT-DEV-01",))
async def a_stuck_source_gives_nothing(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    bench.entropy.stick(bench.rng.randrange(256))
    got = b""
    try:
        for _ in range(3):
            request = await rng.submit(256)
            await rng.wait(request, timeout_ns=10_000)
            got += request.written
    except HostTimeout:
        pass
    if longest_run(got) >= LONGEST_RUN:
        raise AssertionError(f"{longest_run(got)} equal bytes came from a source that is stuck")
    same(len(got) < 3 * 256, True, "whether the device gave up")
    bench.entropy.heal()
    device = await bench.start()
    data = await VirtioRng(device).read(32)
    if longest_run(data) >= LONGEST_RUN:
        raise AssertionError("the device still gives bytes of the stuck source")


@case(devices=("rng",), proves=("ENT-DEV-01",))
async def a_biased_source_is_noticed(bench: Bench) -> None:
    rng = VirtioRng(await bench.start())
    bench.entropy.bias(0x42, 0.85)
    got = 0
    try:
        for _ in range(8):
            request = await rng.submit(256)
            await rng.wait(request, timeout_ns=20_000)
            got += len(request.written)
    except HostTimeout:
        pass
    same(got < 8 * 256, True, "whether the device stopped")
    bench.entropy.heal()
    device = await bench.start()
    await VirtioRng(device).read(16)
