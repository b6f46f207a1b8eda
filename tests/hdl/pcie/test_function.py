"""The function as a whole, with raw packets on its link."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth_virtio.pcie.config_header import Identity
from amaranth_virtio.pcie.function import Function
from helpers.registers import Access, Target, default_word
from helpers.simulation import STALLS, design, send, simulate, steady
from helpers.tlp import (
    config,
    from_raw_beats,
    io,
    memory_read,
    memory_write,
    message,
    parse,
    raw_beats,
    tlp_beats,
)
from virtio_spec.virtio_pci import Interface

WIDTHS = (64, 128, 256)
STALLED = [(64, stall) for stall in STALLS] + [(width, 0.5) for width in WIDTHS[1:]]
INTERFACES = tuple(Interface)
HERE = 0x2A00  # bus, device and function
LEGACY_BASE, MSIX_BASE, MODERN_BASE = 0xC100, 0xFE00_1000, 0x12_4000_0000
IO_SPACE, MEMORY_SPACE, BUS_MASTER, INTERRUPT_DISABLE = 1, 2, 4, 1 << 10
ASSERT, DEASSERT = (message(code, routing=0b100, requester=HERE) for code in (0x20, 0x24))


def function(width: int = 64, interface: Interface = Interface.MODERN, **arguments: Any) -> Any:
    identity = Identity.transitional if interface.has_legacy else Identity.modern
    return design(
        Function,
        width=width,
        identity=identity(2, 0x010000),
        interface=interface,
        **{"vectors": 2, "max_payload": 256, "writers": 1, "link_speed": 3, "link_width": 1} | arguments,
    )


class Link:
    """The other end of the link; ``open`` False leaves the function's packets where they are."""

    def __init__(self, dut: Any, *, stall: float = 0.0):
        self.dut = dut
        self.stall = stall
        self.open = True
        self.beats: list[Any] = []
        self.registers = Target(stall=stall, seed=5)  # behind BAR 4
        self.legacy_registers = Target(stall=stall, seed=6)  # behind BAR 0
        self._rng = random.Random(4)

    @property
    def benches(self) -> list[Any]:
        """Background benches: what the function sends, and the targets of its registers."""
        targets = [
            getattr(self, name).serve(getattr(self.dut, name))
            for name in ("registers", "legacy_registers")
            if hasattr(self.dut, name)
        ]
        return [self._receive, steady(self.dut.tx), *targets]

    async def _receive(self, ctx: Any) -> None:
        rng = random.Random(3)
        tx = self.dut.tx
        while True:
            ctx.set(tx.ready, self.open and rng.random() >= self.stall)
            *_, valid, ready, payload = await ctx.tick().sample(tx.valid, tx.ready, tx.payload)
            if valid and ready:
                self.beats.append(payload)

    @property
    def packets(self) -> list[list[int]]:
        """Complete packets so far."""
        whole = max((at + 1 for at, beat in enumerate(self.beats) if beat.last), default=0)
        return from_raw_beats(self.beats[:whole], self.dut.width)

    @property
    def messages(self) -> list[list[int]]:
        """Messages so far."""
        return [packet for packet in self.packets if packet[0] >> 27 & 3 == 0b10]

    async def send(self, ctx: Any, *packets: list[int]) -> None:
        beats = [beat for packet in packets for beat in raw_beats(packet, self.dut.width)]
        await send(ctx, self.dut.rx, beats, stall=self.stall, rng=self._rng)

    async def until(self, ctx: Any, count: int) -> None:
        """Wait for ``count`` packets since the start."""
        while len(self.packets) < count:
            await ctx.tick()

    async def ask(self, ctx: Any, packet: list[int]) -> SimpleNamespace:
        """Send a request and return its completion."""
        before = len(self.packets)
        await self.send(ctx, packet)
        while True:
            for found in map(parse, self.packets[before:]):
                if found.type == 0b01010:
                    return found
            await ctx.tick()

    async def read(self, ctx: Any, register: int) -> int:
        """Read a dword of configuration space at byte offset ``register``."""
        (word,) = (await self.ask(ctx, config(register // 4, target=HERE))).payload
        return word

    async def write(self, ctx: Any, register: int, value: int) -> None:
        """Write a dword of configuration space."""
        assert (await self.ask(ctx, config(register // 4, value, target=HERE))).status == 0

    async def enable(self, ctx: Any, command: int) -> None:
        """Place the BARs and write the command register."""
        for register, value in (
            (0x10, LEGACY_BASE),
            (0x14, MSIX_BASE),
            (0x20, MODERN_BASE & 0xFFFFFFFF),
            (0x24, MODERN_BASE >> 32),
            (0x04, command),
        ):
            await self.write(ctx, register, value)


async def capability(ctx: Any, link: Link, number: int) -> int:
    """Offset of a capability, 0 if there is none."""
    at = await link.read(ctx, 0x34)
    while at:
        head = await link.read(ctx, at)
        if head & 0xFF == number:
            return at
        at = head >> 8 & 0xFF
    return 0


# What BAR 0 to 5 read after all ones were written.  [PCIe base 5.0 §7.5.1.2.1]
IO_BAR, MSIX_BAR, MODERN_BARS = 0xFFFF_FF01, 0xFFFF_F000, [0xFFFF_C00C, 0xFFFF_FFFF]
BARS = {
    (Interface.MODERN, 2): [0, MSIX_BAR, 0, 0, *MODERN_BARS],
    (Interface.MODERN, 0): [0, 0, 0, 0, *MODERN_BARS],
    (Interface.TRANSITIONAL, 2): [IO_BAR, MSIX_BAR, 0, 0, *MODERN_BARS],
    (Interface.LEGACY, 2): [IO_BAR, MSIX_BAR, 0, 0, 0, 0],
    (Interface.LEGACY, 0): [IO_BAR, 0, 0, 0, 0, 0],
}


@pytest.mark.parametrize(("interface", "vectors"), BARS)
def test_enumeration_finds_what_the_interface_has(interface, vectors):
    dut = function(interface=interface, vectors=vectors)
    link = Link(dut)

    async def bench(ctx: Any) -> None:
        assert await link.read(ctx, 0) == (0x1001_1AF4 if interface.has_legacy else 0x1042_1AF4)
        found = []
        for bar in range(6):
            await link.write(ctx, 0x10 + 4 * bar, 0xFFFF_FFFF)
            found.append(await link.read(ctx, 0x10 + 4 * bar))
        assert found == BARS[interface, vectors]
        assert await link.read(ctx, 0x3C) >> 8 & 0xFF == 1, "Interrupt Pin"
        assert (await capability(ctx, link, 0x11) != 0) == (vectors > 0)
        assert (await capability(ctx, link, 0x09) != 0) == interface.has_modern

    simulate(dut, bench, background=link.benches)
    assert hasattr(dut, "registers") == interface.has_modern
    assert hasattr(dut, "legacy_registers") == interface.has_legacy


@pytest.mark.parametrize(
    ("interface", "width", "stall"),
    [
        (Interface.MODERN, 64, 0.5),
        (Interface.TRANSITIONAL, 64, 0.9),
        (Interface.TRANSITIONAL, 128, 0.5),
        (Interface.LEGACY, 256, 0.5),
        (Interface.LEGACY, 512, 0.0),
    ],
)
def test_each_request_reaches_the_registers_of_its_bar(interface, width, stall):
    dut = function(width, interface)
    link = Link(dut, stall=stall)

    async def bench(ctx: Any) -> None:
        await link.enable(ctx, IO_SPACE | MEMORY_SPACE)
        written = await link.ask(ctx, io(LEGACY_BASE + 0x10, 0xAABB_CCDD, first_be=0b1100))
        read = await link.ask(ctx, io(LEGACY_BASE + 0x14, first_be=0b0010))
        assert written.payload == []
        if interface.has_legacy:
            assert (written.status, read.status, read.payload) == (0, 0, [default_word(0, 0x14)])
            assert link.legacy_registers.log == [
                Access(0, 0x10, True, 0b1100, 0xAABB_0000),
                Access(0, 0x14, False, 0b0010, 0),
            ]
        else:
            assert (written.status, read.status) == (1, 1)

        await link.send(ctx, memory_write(MODERN_BASE + 0x3000, [7]))
        read = await link.ask(ctx, memory_read(MODERN_BASE + 0x3000))
        if interface.has_modern:
            assert (read.status, read.payload) == (0, [7])
            assert link.registers.writes == [Access(4, 0x3000, True, 0xF, 7)]
        else:
            assert read.status == 1

        # The table's second entry: an address that reads back.
        await link.send(ctx, memory_write(MSIX_BASE + 0x10, [0x1234_5670]))
        read = await link.ask(ctx, memory_read(MSIX_BASE + 0x10))
        assert read.payload == [0x1234_5670]

    simulate(dut, bench, background=link.benches)


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_vector_becomes_a_message_write(interface):
    dut = function(interface=interface)
    link = Link(dut)

    async def bench(ctx: Any) -> None:
        await link.enable(ctx, MEMORY_SPACE | BUS_MASTER)
        await link.write(ctx, await capability(ctx, link, 0x11), 1 << 31)
        assert ctx.get(dut.msix_enable)
        await link.send(ctx, memory_write(MSIX_BASE + 0x10, [0xFEE0_0000, 0, 0x4D, 0]))
        await link.ask(ctx, memory_read(MSIX_BASE))
        before = len(link.packets)
        await send(ctx, dut.vector, [1])
        await link.until(ctx, before + 1)
        assert link.packets[before:] == [memory_write(0xFEE0_0000, [0x4D], requester=HERE)]

    simulate(dut, bench, background=link.benches)


def test_without_vectors_their_requests_are_taken_and_forgotten():
    dut = function(interface=Interface.LEGACY, vectors=0, writers=0)
    link = Link(dut)

    async def bench(ctx: Any) -> None:
        await link.enable(ctx, IO_SPACE | MEMORY_SPACE | BUS_MASTER)
        before = len(link.packets)
        for vector in (0, 1, 0xFFFF):
            ctx.set(dut.vector.p, vector)
            ctx.set(dut.vector.valid, 1)
            assert ctx.get(dut.vector.ready)
            assert ctx.get(dut.idle)
            await ctx.tick()
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.msix_enable)
        assert link.packets[before:] == []

    simulate(dut, bench, background=link.benches)


@pytest.mark.parametrize(("width", "stall"), STALLED)
def test_intx_follows_the_interrupt_status(width, stall):
    """PCI-ISR-DEV-05: what clears the status deasserts. Bus Master Enable is off throughout."""
    dut = function(width, Interface.TRANSITIONAL)
    link = Link(dut, stall=stall)

    async def bench(ctx: Any) -> None:
        await link.write(ctx, 0x04, IO_SPACE)
        for number in range(1, 4):
            for level, last in ((1, ASSERT), (0, DEASSERT)):
                ctx.set(dut.interrupt_status, level)
                assert not ctx.get(dut.idle)
                await ctx.tick().until(dut.idle)
                assert (await link.read(ctx, 0x04)) >> 19 & 1 == level, "Interrupt Status"
                assert link.messages[-1] == last
            assert link.messages == [ASSERT, DEASSERT] * number

    simulate(dut, bench, background=link.benches, deadline=20_000)


@pytest.mark.parametrize("interface", INTERFACES)
def test_interrupt_disable_deasserts_and_leaves_the_status_bit(interface):
    dut = function(interface=interface)
    link = Link(dut)

    async def bench(ctx: Any) -> None:
        await link.write(ctx, 0x04, INTERRUPT_DISABLE)
        ctx.set(dut.interrupt_status, 1)
        assert await link.read(ctx, 0x04) >> 19 & 1 == 1
        assert link.messages == []
        for command, expected in (
            (0, [ASSERT]),
            (INTERRUPT_DISABLE, [ASSERT, DEASSERT]),
            (0, [ASSERT, DEASSERT, ASSERT]),
        ):
            await link.write(ctx, 0x04, command)
            assert await link.read(ctx, 0x04) >> 19 & 1 == 1
            assert link.messages == expected

    simulate(dut, bench, background=link.benches)


def test_intx_is_deasserted_outside_d0():
    """[PCIe base 5.0 §5.3.1.4]: interrupts are signalled in D0 only."""
    dut = function(interface=Interface.TRANSITIONAL)
    link = Link(dut)

    async def bench(ctx: Any) -> None:
        await link.write(ctx, 0x04, 0)
        power = await capability(ctx, link, 0x01) + 4
        ctx.set(dut.interrupt_status, 1)
        for state, expected in ((3, [ASSERT, DEASSERT]), (0, [ASSERT, DEASSERT, ASSERT])):
            await link.write(ctx, power, state)
            await link.read(ctx, 0)
            assert link.messages == expected

    simulate(dut, bench, background=link.benches)


@pytest.mark.parametrize(("width", "stall"), STALLED)
def test_intx_comes_behind_the_writes_accepted_before(width, stall):
    """Trap 2: PCI-ISR-DEV-02. A driver that reads memory on an interrupt finds what was written."""
    dut = function(width, Interface.TRANSITIONAL, writers=2)
    link = Link(dut, stall=stall)
    rng = random.Random(width)
    written = [memory_write(0x8000 + 64 * n, [n] * rng.randrange(1, 17), requester=HERE) for n in range(8)]

    async def bench(ctx: Any) -> None:
        await link.write(ctx, 0x04, BUS_MASTER)
        before = len(link.packets)
        for number, packet in enumerate(written):
            await send(ctx, dut.writes[number % 2], tlp_beats(packet, width))
            ctx.set(dut.interrupt_status, 1 - number % 2)
            await ctx.tick()
            await ctx.tick().until(dut.idle)
        await link.until(ctx, before + 2 * len(written))
        pairs = zip(written, [ASSERT, DEASSERT] * (len(written) // 2), strict=True)
        assert link.packets[before:] == [packet for pair in pairs for packet in pair]

    simulate(dut, bench, background=link.benches)


def test_io_waits_during_a_virtio_reset_while_memory_writes_pass():
    dut = function(interface=Interface.TRANSITIONAL)
    link = Link(dut)
    legacy = link.legacy_registers

    async def bench(ctx: Any) -> None:
        await link.enable(ctx, IO_SPACE | MEMORY_SPACE)
        ctx.set(dut.interrupt_status, 1)
        await link.read(ctx, 0)
        assert link.messages == [ASSERT]
        ctx.set(dut.reset, 1)
        await link.read(ctx, 0)
        assert link.messages == [ASSERT, DEASSERT], "no interrupt while it is reset"
        read = await link.ask(ctx, memory_read(MODERN_BASE + 0x14))
        assert read.payload == [default_word(4, 0x14)]
        before = len(link.packets)
        await link.send(ctx, io(LEGACY_BASE + 0x10), memory_write(MODERN_BASE + 0x14, [0]))
        await ctx.tick().repeat(40)
        assert (legacy.log, link.packets[before:]) == ([], [])
        assert link.registers.writes == [Access(4, 0x14, True, 0xF, 0)]
        ctx.set(dut.interrupt_status, 0)
        ctx.set(dut.reset, 0)
        await link.until(ctx, before + 1)
        assert parse(link.packets[-1]).payload == [default_word(0, 0x10)]

    simulate(dut, bench, background=link.benches)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_function_level_reset_ends_after_the_deassert_has_left(width):
    """[PCIe base 5.0 §6.6.2]: a function in reset asserts nothing."""
    dut = function(width, Interface.TRANSITIONAL)
    link = Link(dut)
    reads = [memory_read(0x8000, tag=tag) for tag in range(8)]

    async def core(ctx: Any) -> None:
        """As the device core does: idle counts from the second cycle of its reset on."""
        cycles = 0
        while True:
            ctx.set(dut.reset, cycles > 0)
            done = cycles > 1 and ctx.get(dut.idle)
            ctx.set(dut.function_reset_done, done)
            if done:
                ctx.set(dut.interrupt_status, 0)
            *_, resetting = await ctx.tick().sample(dut.function_reset)
            cycles = cycles + 1 if resetting and not done else 0

    async def read(ctx: Any) -> None:
        while link.open:
            await ctx.tick()
        await send(ctx, dut.reads, [beat for packet in reads for beat in tlp_beats(packet, width)])

    async def bench(ctx: Any) -> None:
        await link.enable(ctx, IO_SPACE | MEMORY_SPACE)
        control = await capability(ctx, link, 0x10) + 8
        ctx.set(dut.interrupt_status, 1)
        await ctx.tick().until(dut.idle)
        await link.read(ctx, 0)
        before = len(link.packets)
        link.open = False
        await ctx.tick().repeat(20)  # reads of our own fill what there is on the way out
        await link.send(ctx, config(control // 4, 1 << 15, target=HERE, first_be=0b0011))
        await ctx.tick().until(dut.function_reset)
        # An I/O request is not held now but refused, so that nothing waits for a driver that is gone.
        await link.send(ctx, io(LEGACY_BASE))
        for _ in range(40):
            assert ctx.get(dut.function_reset)
            assert not ctx.get(dut.idle)
            await ctx.tick()
        link.open = True
        await ctx.tick().until(~dut.function_reset)
        await link.until(ctx, before + 3 + len(reads))
        completions = [packet for packet in link.packets[before:] if packet not in (DEASSERT, *reads)]
        assert [parse(packet).status for packet in completions] == [0, 1]
        assert link.messages == [ASSERT, DEASSERT]
        assert link.legacy_registers.log == []

    simulate(dut, bench, read, background=[*link.benches, core])


@pytest.mark.parametrize(
    ("how", "width", "stall"),
    [("command", 64, 0.0), ("command", 256, 0.5), ("power state", 64, 0.5)],
)
def test_no_memory_request_follows_the_completion_that_ends_bus_mastering(how, width, stall):
    """[PCIe base 5.0 §7.5.1.1.3, §5.3.1.4]: reads, writes and messages, of sources that have always more."""
    dut = function(width, writers=2)
    link = Link(dut, stall=stall)
    rng = random.Random(7)

    def source(port: Any, packets: list[list[int]]) -> Any:
        async def run(ctx: Any) -> None:
            while True:
                *_, allowed = await ctx.tick().sample(dut.dma.bus_master)
                if allowed:
                    await send(ctx, port, tlp_beats(rng.choice(packets), width))

        return run

    async def vectors(ctx: Any) -> None:
        while True:
            await send(ctx, dut.vector, [1])

    async def bench(ctx: Any) -> None:
        await link.enable(ctx, MEMORY_SPACE)
        await link.write(ctx, await capability(ctx, link, 0x11), 1 << 31)
        await link.send(ctx, memory_write(MSIX_BASE + 0x10, [0xFEE0_0000, 0, 0x4D, 0]))
        power = await capability(ctx, link, 0x01) + 4
        for round_ in range(2):
            await link.write(ctx, power, 0)
            await link.write(ctx, 0x04, MEMORY_SPACE | BUS_MASTER)
            await link.until(ctx, len(link.packets) + 6 + round_)
            link.open = False
            await ctx.tick().repeat(rng.randrange(40))
            register, value = (0x04, MEMORY_SPACE) if how == "command" else (power, 3)
            before = len(link.packets)
            await link.send(ctx, config(register // 4, value, target=HERE))
            await ctx.tick().repeat(40)
            link.open = True
            while 0b01010 not in (types := [parse(packet).type for packet in link.packets[before:]]):
                await ctx.tick()
            await ctx.tick().repeat(60)
            followed = [parse(packet).type for packet in link.packets[before + len(types) :]]
            assert types[-1] == 0b01010 and followed == []

    sources = [
        source(dut.reads, [memory_read(0x8000)]),
        source(dut.writes[0], [memory_write(0x9000, range(12)), memory_write(0x9000, [1])]),
        source(dut.writes[1], [memory_write(0xA000, [1, 2])]),
    ]
    simulate(dut, bench, background=[*link.benches, *sources, vectors], deadline=20_000)


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"^interface is an Interface, not 'both'$"):
        Function(
            width=64,
            identity=Identity.modern(2, 0),
            interface="both",  # wrong on purpose  # pyright: ignore[reportArgumentType]
            vectors=1,
            max_payload=128,
            writers=1,
            link_speed=1,
            link_width=1,
        )
    with pytest.raises(ValueError, match=r"^writers is a number from 0 on, not -1$"):
        function(writers=-1)
