import random
from typing import Any

import pytest
from amaranth_virtio.pcie.config_header import Identity
from amaranth_virtio.pcie.config_space import ConfigSpace
from helpers.config import RegisterTarget, config_read, config_write
from helpers.simulation import STALLS, design, simulate
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

BAR, OFFSET, LENGTH, DATA = 0xD8, 0xDC, 0xE0, 0xE4


def function(interface: Interface = Interface.MODERN) -> ConfigSpace:
    identity = Identity.transitional if interface.has_legacy else Identity.modern
    return design(
        ConfigSpace, identity=identity(DeviceType.ENTROPY, 0x00FF00), interface=interface, vectors=2
    )


async def aim(ctx: Any, dut: ConfigSpace, bar: int, offset: int, length: int) -> None:
    await config_write(ctx, dut.config, BAR, bar, 1)
    await config_write(ctx, dut.config, OFFSET, offset)
    await config_write(ctx, dut.config, LENGTH, length)


@pytest.mark.parametrize("stall", STALLS)
def test_the_window_reads_and_writes_every_aligned_place_with_memory_space_disabled(stall):
    """Trap 21: PCI-CFGA-DEV-02, PCI-CFGA-DEV-03, PCI-CFGA-DEV-P01."""
    dut = function()
    target = RegisterTarget(dut.bus, stall=stall)
    rng = random.Random(3)

    async def bench(ctx: Any) -> None:
        for length in (1, 2, 4):
            for offset in [*range(0x3000, 0x3008, length), 0x4000 - length]:
                places = [(4, offset + n) for n in range(length)]
                around = [(4, (offset & ~3) + n) for n in range(4) if (4, (offset & ~3) + n) not in places]
                for place in places + around:
                    target.bytes[place] = rng.randrange(256)
                untouched = [target.bytes[place] for place in around]
                await aim(ctx, dut, 4, offset, length)
                target.seen.clear()

                wanted = int.from_bytes(bytes(target.bytes[place] for place in places), "little")
                assert await config_read(ctx, dut.config, DATA, length) == wanted
                (read,) = target.seen
                assert (read.bar, read.address, read.write) == (4, offset & ~3, 0)
                assert read.byte_enable == (1 << length) - 1 << offset % 4

                value = rng.getrandbits(8 * length)
                await config_write(ctx, dut.config, DATA, value, length)
                _, write = target.seen
                assert (write.bar, write.address, write.write) == (4, offset & ~3, 1)
                assert write.byte_enable == read.byte_enable
                assert bytes(target.bytes[place] for place in places) == value.to_bytes(length, "little")
                assert [target.bytes[place] for place in around] == untouched

    simulate(dut, bench, background=[target.run], deadline=30_000)


def test_a_window_read_has_the_side_effect_of_the_bar_read_once():
    """Trap 21: PCI-CFGA-DEV-03. The ISR is cleared by the read, and only by it."""
    dut = function()
    target = RegisterTarget(dut.bus, clear_on_read=((4, 0x1000),))

    async def bench(ctx: Any) -> None:
        target.bytes[4, 0x1000] = 3
        await aim(ctx, dut, 4, 0x1000, 1)
        assert target.bytes[4, 0x1000] == 3, "aiming reads nothing"
        await config_read(ctx, dut.config, LENGTH)
        assert target.bytes[4, 0x1000] == 3
        assert await config_read(ctx, dut.config, DATA, 1) == 3
        assert target.bytes[4, 0x1000] == 0
        assert await config_read(ctx, dut.config, DATA, 1) == 0
        # The next byte of the dword is not the ISR.
        target.bytes[4, 0x1000] = 1
        await aim(ctx, dut, 4, 0x1001, 1)
        await config_read(ctx, dut.config, DATA, 1)
        assert target.bytes[4, 0x1000] == 1

    simulate(dut, bench, background=[target.run])


def test_a_short_read_leaves_the_rest_of_the_register():
    dut = function()
    target = RegisterTarget(dut.bus)

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, DATA, 0x44332211)
        target.bytes[1, 0x803] = 0xEE
        await aim(ctx, dut, 1, 0x803, 1)
        assert await config_read(ctx, dut.config, DATA) == 0x443322EE

    simulate(dut, bench, background=[target.run])


def test_any_enabled_byte_makes_one_access_of_the_whole_length():
    dut = function()
    target = RegisterTarget(dut.bus)

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, DATA, 0x44332211)
        await aim(ctx, dut, 4, 0x10, 4)
        await config_write(ctx, dut.config, DATA, 0x99_000000, byte_enable=0b1000)
        (write,) = target.seen
        assert (write.byte_enable, write.data) == (0b1111, 0x99332211)
        target.bytes.update({(4, 0x10 + n): 0xA0 + n for n in range(4)})
        assert await config_read(ctx, dut.config, DATA + 2, 1) == 0xA2
        assert len(target.seen) == 2

        # No byte enabled: nothing happens, and nothing is asked.
        await config_write(ctx, dut.config, DATA, 0xFFFFFFFF, byte_enable=0)
        assert len(target.seen) == 2

    simulate(dut, bench, background=[target.run])


def test_the_window_of_a_transitional_function_reaches_the_legacy_registers_and_no_further():
    """PCI-CFGA-DEV-02, PCI-CFGA-DEV-03."""
    dut = function(Interface.TRANSITIONAL)
    target = RegisterTarget(dut.bus, clear_on_read=((0, 0x13),))

    async def bench(ctx: Any) -> None:
        target.bytes[0, 0x13] = 3
        for offset, length in ((0, 4), (0x10, 2), (0x13, 1), (0xFC, 4), (0xFF, 1)):
            await aim(ctx, dut, 0, offset, length)
            answer = await config_read(ctx, dut.config, DATA, length)
            assert answer == (3 if offset == 0x13 else 0)
            await config_write(ctx, dut.config, DATA, 0x5A, length)
            assert target.bytes[0, offset] == 0x5A
            read, write = target.seen
            assert (read.bar, read.address, read.write) == (0, offset & ~3, 0)
            assert (write.bar, write.address, write.write) == (0, offset & ~3, 1)
            assert read.byte_enable == write.byte_enable == (1 << length) - 1 << offset % 4
            target.seen.clear()
        for offset in (0x100, 0x1000, 0x2000):
            await aim(ctx, dut, 0, offset, 4)
            await config_read(ctx, dut.config, DATA)
            assert target.seen == []
        for bar, offset in ((1, 0x800), (4, 0x1000)):
            await aim(ctx, dut, bar, offset, 1)
            await config_read(ctx, dut.config, DATA, 1)
        assert [(read.bar, read.address) for read in target.seen] == [(1, 0x800), (4, 0x1000)]

    simulate(dut, bench, background=[target.run])


def test_a_legacy_function_has_no_window():
    dut = function(Interface.LEGACY)
    assert "bus" not in dut.signature.members

    async def bench(ctx: Any) -> None:
        for offset in (BAR, OFFSET, LENGTH, DATA):
            await config_write(ctx, dut.config, offset, 0xFFFFFFFF)
            assert await config_read(ctx, dut.config, offset) == 0

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("bar", "offset", "length"),
    [
        (0, 0, 4),  # no such BAR
        (5, 0, 4),  # upper half of a BAR
        (6, 0, 4),
        (0x84, 0, 4),  # all eight bits count
        (4, 0, 0),
        (4, 0, 3),
        (4, 0, 8),
        (4, 0, 0x104),
        (4, 1, 2),
        (4, 3, 2),
        (4, 2, 4),
        (4, 0x4000, 4),
        (1, 0x1000, 1),
        (4, 0x8000_0000, 4),
    ],
)
def test_an_illegal_aim_makes_the_register_plain_storage(bar, offset, length):
    """PCI-CFGA-DRV-01 and others broken by the driver: no access, and no harm."""
    dut = function()
    target = RegisterTarget(dut.bus)

    async def bench(ctx: Any) -> None:
        await aim(ctx, dut, bar, offset, length)
        await config_write(ctx, dut.config, DATA, 0x12345678)
        assert await config_read(ctx, dut.config, DATA) == 0x12345678
        assert await config_read(ctx, dut.config, OFFSET) == offset
        assert target.seen == []
        await aim(ctx, dut, 4, 0, 4)
        await config_read(ctx, dut.config, DATA)
        assert len(target.seen) == 1, "the window works again"

    simulate(dut, bench, background=[target.run])


def test_a_function_level_reset_shuts_the_window_until_it_is_aimed_again():
    dut = function()
    target = RegisterTarget(dut.bus)

    async def bench(ctx: Any) -> None:
        await aim(ctx, dut, 4, 0, 4)
        await config_write(ctx, dut.config, 0x51, 0x80, 1)
        await config_write(ctx, dut.config, DATA, 1)
        await config_read(ctx, dut.config, DATA)
        ctx.set(dut.function_reset_done, 1)
        await ctx.tick()
        ctx.set(dut.function_reset_done, 0)
        assert await config_read(ctx, dut.config, DATA) == 0
        assert target.seen == []

    simulate(dut, bench, background=[target.run])
