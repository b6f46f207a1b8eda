import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth_virtio.pcie.msix import Msix
from helpers.simulation import STALLS, design, receive, send, simulate

PBA = 0x800
NO_VECTOR = 0xFFFF


def address_of(vector: int) -> int:
    return 0x1_2345_0000_0000 * (vector % 2) + 0xFEE0_0000 + 0x100 * vector


def data_of(vector: int) -> int:
    return 0xABCD_0000 | vector


async def bus_write(ctx: Any, dut: Msix, address: int, value: int, byte_enable: int = 15) -> None:
    request = {"bar": 1, "address": address, "write": 1, "byte_enable": byte_enable, "data": value}
    await send(ctx, dut.bus.request, [request])


async def bus_read(ctx: Any, dut: Msix, address: int) -> int:
    await send(
        ctx, dut.bus.request, [{"bar": 1, "address": address, "write": 0, "byte_enable": 15, "data": 0}]
    )
    (value,) = await ctx.tick().sample(dut.bus.response.payload).until(dut.bus.response.valid)
    return value


async def mask(ctx: Any, dut: Msix, vector: int, masked: int) -> None:
    await bus_write(ctx, dut, 16 * vector + 12, masked)


async def program(ctx: Any, dut: Msix, vectors: Iterable[int], masked: int = 0) -> None:
    for vector in vectors:
        await bus_write(ctx, dut, 16 * vector, address_of(vector) & 0xFFFFFFFF)
        await bus_write(ctx, dut, 16 * vector + 4, address_of(vector) >> 32)
        await bus_write(ctx, dut, 16 * vector + 8, data_of(vector))
        await mask(ctx, dut, vector, masked)


async def start(ctx: Any, dut: Msix, masked: int = 0) -> None:
    """Enable everything and give each vector its message."""
    ctx.set(dut.bus_master, 1)
    ctx.set(dut.settings.enable, 1)
    await program(ctx, dut, range(dut.vectors), masked)


class Messages:
    """Collects the vectors whose messages arrive, in order; checks each message's form."""

    def __init__(self, dut: Msix, stall: float = 0.0):
        self.dut, self.stall, self.vectors = dut, stall, []
        self.rng = random.Random(11)

    async def run(self, ctx: Any) -> None:
        while True:
            message = await receive(ctx, self.dut.write, stall=self.stall, rng=self.rng)
            vector = message.data & 0xFFFF
            assert message.address == address_of(vector)
            assert message.data == data_of(vector)
            self.vectors.append(vector)


async def quiet(ctx: Any, dut: Msix, cycles: int = 200) -> None:
    """Wait long enough for everything that may come to come, then see that the component says so."""
    await ctx.tick().repeat(cycles)
    assert ctx.get(dut.idle)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("vectors", [1, 5])
def test_each_request_becomes_one_message_in_the_order_of_the_requests(stall, vectors):
    """MSIX-DEV-P01."""
    dut = design(Msix, vectors=vectors)
    messages = Messages(dut, stall)
    rng = random.Random(5)
    requests = [rng.randrange(vectors) for _ in range(40)]

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await send(ctx, dut.request, requests, stall=stall, rng=rng)
        await quiet(ctx, dut)
        assert messages.vectors == requests

    simulate(dut, bench, background=[messages.run])


def test_a_message_leaves_six_cycles_after_its_request():
    dut = design(Msix, vectors=2)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await ctx.tick().repeat(5)
        ctx.set(dut.request.payload, 1)
        ctx.set(dut.request.valid, 1)
        await ctx.delay(0)
        assert ctx.get(dut.request.ready)
        for cycle in range(7):
            assert ctx.get(dut.write.valid) == (cycle == 6)
            assert not ctx.get(dut.idle)
            await ctx.tick()
            ctx.set(dut.request.valid, 0)

    simulate(dut, bench)


@pytest.mark.parametrize("vector", [NO_VECTOR, 5, 8, 0x8000, 0x105])
def test_a_vector_outside_the_table_is_silently_dropped(vector):
    """Trap 20: PCI-UBN-DEV-01, PCI-CCN-DEV-02. Nor does it stand for another vector (5 entries, not 8)."""
    dut = design(Msix, vectors=5)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await send(ctx, dut.request, [vector, 3, vector])
        await quiet(ctx, dut)
        assert messages.vectors == [3]
        assert await bus_read(ctx, dut, PBA) == 0
        # Not with the table masked either, when a request would become pending.
        for entry in range(5):
            await mask(ctx, dut, entry, 1)
        await send(ctx, dut.request, [vector])
        await quiet(ctx, dut)
        assert await bus_read(ctx, dut, PBA) == 0

    simulate(dut, bench, background=[messages.run])


HOLDS = ["vector", "function", "bus master"]


async def hold(ctx: Any, dut: Msix, how: str, held: int) -> None:
    if how == "vector":
        for vector in range(dut.vectors):
            await mask(ctx, dut, vector, held)
    elif how == "function":
        ctx.set(dut.settings.mask, held)
    else:
        ctx.set(dut.bus_master, not held)


@pytest.mark.parametrize("how", HOLDS)
def test_requests_that_may_not_be_sent_pend_coalesce_and_are_sent_once(how):
    dut = design(Msix, vectors=70)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await hold(ctx, dut, how, 1)
        await send(ctx, dut.request, [2, 40, 2, 69, 2, 40])
        await quiet(ctx, dut)
        assert messages.vectors == []
        assert [await bus_read(ctx, dut, PBA + 4 * n) for n in range(4)] == [1 << 2, 1 << 8, 1 << 5, 0]
        await hold(ctx, dut, how, 0)
        await quiet(ctx, dut, 400)
        assert sorted(messages.vectors) == [2, 40, 69]
        assert [await bus_read(ctx, dut, PBA + 4 * n) for n in range(4)] == [0, 0, 0, 0]
        await send(ctx, dut.request, [40])
        await quiet(ctx, dut)
        assert messages.vectors[3:] == [40], "as before"

    simulate(dut, bench, background=[messages.run])


def test_unmasking_one_vector_sends_that_one_only():
    dut = design(Msix, vectors=4)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut, masked=1)
        await send(ctx, dut.request, [0, 1, 3])
        await quiet(ctx, dut)
        await mask(ctx, dut, 1, 0)
        await quiet(ctx, dut)
        assert messages.vectors == [1]
        assert await bus_read(ctx, dut, PBA) == 0b1001

    simulate(dut, bench, background=[messages.run])


def test_pending_vectors_get_their_turn_under_constant_requests_for_another():
    dut = design(Msix, vectors=4)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await mask(ctx, dut, 2, 1)
        await send(ctx, dut.request, [2])
        await ctx.tick().repeat(4)
        await mask(ctx, dut, 2, 0)
        await send(ctx, dut.request, [0] * 12)
        assert messages.vectors.count(2) == 1

    simulate(dut, bench, background=[messages.run])


def test_a_disabled_function_forgets_requests():
    dut = design(Msix, vectors=3)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        ctx.set(dut.settings.enable, 0)
        await send(ctx, dut.request, [0, 1])
        await quiet(ctx, dut)
        assert await bus_read(ctx, dut, PBA) == 0
        ctx.set(dut.settings.enable, 1)
        await quiet(ctx, dut)
        assert messages.vectors == []

    simulate(dut, bench, background=[messages.run])


@pytest.mark.parametrize("after", range(1, 15))
def test_a_request_is_never_lost_to_the_clearing_of_its_pending_bit(after):
    """A request that is accepted after the message for the pending bit began makes another message."""
    dut = design(Msix, vectors=2)
    messages = Messages(dut)
    accepted: list[int] = []
    offered: list[int] = []

    async def monitor(ctx: Any) -> None:
        clock = 0
        async for _, _, request, message in ctx.tick().sample(
            dut.request.valid & dut.request.ready, dut.write.valid
        ):
            clock += 1
            if request:
                accepted.append(clock)
            if message:
                offered.append(clock)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await mask(ctx, dut, 1, 1)
        await send(ctx, dut.request, [1])
        await ctx.tick().repeat(6)
        await mask(ctx, dut, 1, 0)
        await ctx.tick().repeat(after)
        await send(ctx, dut.request, [1])
        await quiet(ctx, dut)
        assert set(messages.vectors) == {1} and len(messages.vectors) <= 2
        assert offered[-1] > accepted[-1], "the request is followed by a message"

    simulate(dut, bench, background=[messages.run, monitor])


@pytest.mark.parametrize("after", range(12))
def test_once_a_mask_reads_back_no_message_of_the_vector_follows(after):
    dut = design(Msix, vectors=2)

    async def bench(ctx: Any) -> None:
        sent = 0

        async def step(ready: int) -> None:
            nonlocal sent
            ctx.set(dut.write.ready, ready)
            _, _, valid = await ctx.tick().sample(dut.write.valid)
            sent += valid and ready

        await start(ctx, dut)
        await send(ctx, dut.request, [1])
        for _ in range(after):
            await step(0)
        await mask(ctx, dut, 1, 1)
        ctx.set(
            dut.bus.request.payload, {"bar": 1, "address": 0x1C, "write": 0, "byte_enable": 15, "data": 0}
        )
        ctx.set(dut.bus.request.valid, 1)
        await step(0)
        ctx.set(dut.bus.request.valid, 0)
        for cycle in range(60):
            if ctx.get(dut.bus.response.valid):
                break
            await step(cycle > 20)
        else:
            raise AssertionError("no answer")
        assert ctx.get(dut.bus.response.payload) == 1
        before = sent
        for _ in range(60):
            await step(1)
        assert sent == before
        assert sent + (await bus_read(ctx, dut, PBA) >> 1) == 1, "sent or pending, and not both"

    simulate(dut, bench)


@pytest.mark.parametrize("after", range(1, 12))
def test_an_entry_changed_while_masked_is_never_sent_half_old_half_new(after):
    dut = design(Msix, vectors=2)
    old, new = (address_of(1), data_of(1)), (0x7_1234_5678, 0x55AA)
    sent: list[tuple[int, int]] = []

    async def collect(ctx: Any) -> None:
        while True:
            message = await receive(ctx, dut.write)
            sent.append((message.address, message.data))

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await send(ctx, dut.request, [1])
        await ctx.tick().repeat(after)
        await mask(ctx, dut, 1, 1)
        for offset, value in ((8, new[1]), (4, new[0] >> 32), (0, new[0] & 0xFFFFFFFF)):
            await bus_write(ctx, dut, 16 + offset, value)
        await mask(ctx, dut, 1, 0)
        await quiet(ctx, dut)
        assert sent in ([old], [new])

    simulate(dut, bench, background=[collect])


def test_a_request_taken_in_the_last_cycle_of_reset_is_dropped():
    dut = design(Msix, vectors=2)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        ctx.set(dut.reset, 1)
        await ctx.tick().repeat(3)
        await send(ctx, dut.request, [1])
        ctx.set(dut.reset, 0)
        await quiet(ctx, dut)
        assert await bus_read(ctx, dut, PBA) == 0

    simulate(dut, bench)


def test_forgetting_drops_what_pends_and_is_requested_and_keeps_the_table():
    """RESET-DEV-02: no notification of before a virtio reset comes after it."""
    dut = design(Msix, vectors=3)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await mask(ctx, dut, 2, 1)
        await send(ctx, dut.request, [2])
        await quiet(ctx, dut)
        ctx.set(dut.forget, 1)
        await send(ctx, dut.request, [1, 2])
        await quiet(ctx, dut, 10)
        ctx.set(dut.forget, 0)
        await mask(ctx, dut, 2, 0)
        await quiet(ctx, dut)
        assert messages.vectors == []
        assert await bus_read(ctx, dut, PBA) == 0
        await send(ctx, dut.request, [0, 2])
        await quiet(ctx, dut)
        assert messages.vectors == [0, 2], "masks, addresses and data are as before"

    simulate(dut, bench, background=[messages.run])


def test_a_message_offered_does_not_change_while_it_waits():
    dut = design(Msix, vectors=2)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await send(ctx, dut.request, [1])
        await ctx.tick().until(dut.write.valid)
        ctx.set(dut.settings.enable, 0)
        ctx.set(dut.bus_master, 0)
        ctx.set(dut.reset, 1)
        await bus_write(ctx, dut, 16, 0x1234)
        for _ in range(10):
            await ctx.tick()
            assert ctx.get(dut.write.valid) and not ctx.get(dut.idle)
            assert ctx.get(dut.write.p.address) == address_of(1)
            assert ctx.get(dut.write.p.data) == data_of(1)
        ctx.set(dut.write.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.write.valid)
        assert ctx.get(dut.idle)

    simulate(dut, bench)


@pytest.mark.parametrize("vectors", [1, 3, 128])
def test_after_reset_all_vectors_are_masked_and_none_is_pending(vectors):
    dut = design(Msix, vectors=vectors)
    messages = Messages(dut)

    async def bench(ctx: Any) -> None:
        async def masks() -> list[int]:
            return [await bus_read(ctx, dut, 16 * vector + 12) for vector in range(vectors)]

        assert await masks() == [1] * vectors
        await start(ctx, dut)
        assert await masks() == [0] * vectors
        ctx.set(dut.settings.mask, 1)
        await send(ctx, dut.request, [0, vectors - 1])
        await quiet(ctx, dut, 5)
        ctx.set(dut.reset, 1)
        await send(ctx, dut.request, [0])
        ctx.set(dut.settings.mask, 0)
        await quiet(ctx, dut, 5)
        ctx.set(dut.reset, 0)
        assert await masks() == [1] * vectors
        assert [await bus_read(ctx, dut, PBA + 4 * n) for n in range(4)] == [0] * 4
        await program(ctx, dut, range(vectors))
        await quiet(ctx, dut)
        assert messages.vectors == []

    simulate(dut, bench, background=[messages.run])


@pytest.mark.parametrize("vectors", [1, 3, 128])
def test_the_table_takes_bytes_and_dwords_and_the_rest_of_the_bar_nothing(vectors):
    """Writes to the PBA, to reserved bits and beyond the table change nothing."""
    dut = design(Msix, vectors=vectors)
    rng = random.Random(9)

    async def bench(ctx: Any) -> None:
        memory = {}
        for address in range(0, 16 * vectors, 4):
            await bus_write(ctx, dut, address, 0)
            memory[address] = 0
        places = [*rng.choices(range(0, 16 * vectors, 4), k=60), *range(0, 16, 4), 16 * vectors - 4]
        for address in [*places, 16 * vectors, PBA, PBA + 4, PBA + 8, 0xFFC]:
            value, byte_enable = rng.getrandbits(32), rng.randrange(16)
            await bus_write(ctx, dut, address, value, byte_enable)
            if address in memory:
                lanes = sum(0xFF << 8 * lane for lane in range(4) if byte_enable >> lane & 1)
                if address % 16 == 12:
                    lanes &= 1
                memory[address] = memory[address] & ~lanes | value & lanes
        for address in [*memory, 16 * vectors, PBA, PBA + 4, PBA + 8, PBA + 16, 0xFFC]:
            assert await bus_read(ctx, dut, address) == memory.get(address, 0), hex(address)

    simulate(dut, bench)


def test_a_read_waits_for_the_message_on_its_way_and_writes_do_not():
    dut = design(Msix, vectors=2)

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await send(ctx, dut.request, [0])
        await ctx.tick().until(dut.write.valid)
        seen = SimpleNamespace(answer=None)
        await send(
            ctx, dut.bus.request, [{"bar": 1, "address": 24, "write": 0, "byte_enable": 15, "data": 0}]
        )
        for value in (5, 6, 7):
            await bus_write(ctx, dut, 20, value)
            assert not ctx.get(dut.bus.response.valid)
        ctx.set(dut.write.ready, 1)
        (seen.answer,) = await ctx.tick().sample(dut.bus.response.payload).until(dut.bus.response.valid)
        assert seen.answer == data_of(1)
        assert await bus_read(ctx, dut, 20) == 7

    simulate(dut, bench)


@pytest.mark.parametrize("vectors", [0, 129, 2048])
def test_a_table_that_does_not_fit_is_refused(vectors):
    with pytest.raises(ValueError) as error:
        Msix(vectors=vectors)
    assert str(error.value) == f"vectors is a number from 1 to 128, not {vectors}"
