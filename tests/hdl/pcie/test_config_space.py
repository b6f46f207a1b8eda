import random
from typing import Any

import pytest
from amaranth_virtio.pcie.config_header import Identity
from amaranth_virtio.pcie.config_space import ConfigSpace, virtio_bars
from helpers.config import config_read, config_write
from helpers.simulation import design, simulate
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

# Every dword of the functions below that is not 0 throughout: value after reset, bits that can be
# written, bits that are cleared by writing 1.  Written down from PCIe base 5.0 §7.5 and §7.7.2 and
# virtio 1.4 §4.1.4.
MODERN = {
    0x00: (0x1042_1AF4, 0x0000_0000, 0),
    0x04: (0x0010_0000, 0x0000_0546, 0xB900_0000),
    0x08: (0x0100_0001, 0x0000_0000, 0),
    0x0C: (0x0000_0000, 0x0000_00FF, 0),
    0x14: (0x0000_0000, 0xFFFF_F000, 0),
    0x20: (0x0000_000C, 0xFFFF_C000, 0),
    0x24: (0x0000_0000, 0xFFFF_FFFF, 0),
    0x2C: (0x1100_1AF4, 0x0000_0000, 0),
    0x34: (0x0000_0040, 0x0000_0000, 0),
    0x3C: (0x0000_0100, 0x0000_00FF, 0),
    # Power management
    0x40: (0x0003_4801, 0x0000_0000, 0),
    0x44: (0x0000_0008, 0x0000_0003, 0),
    # PCI Express
    0x48: (0x0002_8410, 0x0000_0000, 0),
    0x4C: (0x1000_8021, 0x0000_0000, 0),
    0x50: (0x0000_2810, 0x0000_79FF, 0x000F_0000),
    0x54: (0x0040_0042, 0x0000_0000, 0),
    0x58: (0x1042_0000, 0x0000_00CB, 0),
    0x6C: (0x0000_0010, 0x0000_0000, 0),
    0x70: (0x0000_0000, 0x0000_0010, 0),
    0x74: (0x0000_0006, 0x0000_0000, 0),
    0x78: (0x0000_0002, 0x0000_FF9F, 0),
    # MSI-X
    0x84: (0x0003_9011, 0xC000_0000, 0),
    0x88: (0x0000_0001, 0x0000_0000, 0),
    0x8C: (0x0000_0801, 0x0000_0000, 0),
    # Virtio: common, notify, ISR, device, PCI_CFG
    0x90: (0x0110_A009, 0x0000_0000, 0),
    0x94: (0x0000_0004, 0x0000_0000, 0),
    0x98: (0x0000_0000, 0x0000_0000, 0),
    0x9C: (0x0000_0800, 0x0000_0000, 0),
    0xA0: (0x0214_B409, 0x0000_0000, 0),
    0xA4: (0x0000_0004, 0x0000_0000, 0),
    0xA8: (0x0000_3000, 0x0000_0000, 0),
    0xAC: (0x0000_1000, 0x0000_0000, 0),
    0xB0: (0x0000_0004, 0x0000_0000, 0),
    0xB4: (0x0310_C409, 0x0000_0000, 0),
    0xB8: (0x0000_0004, 0x0000_0000, 0),
    0xBC: (0x0000_1000, 0x0000_0000, 0),
    0xC0: (0x0000_1000, 0x0000_0000, 0),
    0xC4: (0x0410_D409, 0x0000_0000, 0),
    0xC8: (0x0000_0004, 0x0000_0000, 0),
    0xCC: (0x0000_2000, 0x0000_0000, 0),
    0xD0: (0x0000_1000, 0x0000_0000, 0),
    0xD4: (0x0514_0009, 0x0000_0000, 0),
    0xD8: (0x0000_0000, 0x0000_00FF, 0),
    0xDC: (0x0000_0000, 0xFFFF_FFFF, 0),
    0xE0: (0x0000_0000, 0xFFFF_FFFF, 0),
    0xE4: (0x0000_0000, 0xFFFF_FFFF, 0),
}
# Transitional ids, revision 0, I/O Space Enable and BAR 0.
TRANSITIONAL = MODERN | {
    0x00: (0x1001_1AF4, 0x0000_0000, 0),
    0x04: (0x0010_0000, 0x0000_0547, 0xB900_0000),
    0x08: (0x0100_0000, 0x0000_0000, 0),
    0x10: (0x0000_0001, 0xFFFF_FF00, 0),
    0x2C: (0x0002_1AF4, 0x0000_0000, 0),
}
# No BAR 4 and no virtio capabilities; a legacy endpoint.
LEGACY = {
    offset: TRANSITIONAL[offset] for offset in TRANSITIONAL if offset < 0x90 and offset not in (0x20, 0x24)
} | {
    0x48: (0x0012_8410, 0x0000_0000, 0),
    0x84: (0x0003_0011, 0xC000_0000, 0),
}
# The same without MSI-X: PCI Express is the last capability.
BARE = {offset: LEGACY[offset] for offset in LEGACY if offset < 0x84 and offset != 0x14} | {
    0x48: (0x0012_0010, 0x0000_0000, 0),
}
KINDS = [
    (Interface.MODERN, 4, MODERN),
    (Interface.TRANSITIONAL, 4, TRANSITIONAL),
    (Interface.LEGACY, 4, LEGACY),
    (Interface.LEGACY, 0, BARE),
]
each_kind = pytest.mark.parametrize(
    ("interface", "vectors", "registers"), KINDS, ids=["modern", "transitional", "legacy", "bare"]
)
INITIATE_FLR = 0x8000
# What a function level reset leaves alone [PCIe base 5.0 §6.6.2], and sticky registers.
KEPT = {0x50: 0x0000_00E0, 0x58: 0x0000_00CB, 0x78: 0x0000_FFFF}


def function(**parameters: Any) -> ConfigSpace:
    parameters = {"vectors": 4, "max_payload": 256, "link_speed": 2, "link_width": 4} | parameters
    modern = parameters.get("interface", Interface.MODERN) is Interface.MODERN
    identity = Identity.modern if modern else Identity.transitional
    return design(ConfigSpace, identity=identity(DeviceType.BLOCK, 0x010000), **parameters)


async def strobe(ctx: Any, dut: ConfigSpace, *names: str) -> None:
    for name in names:
        ctx.set(dut.errors[name], 1)
    await ctx.tick()
    for name in names:
        ctx.set(dut.errors[name], 0)


def expand(byte_enable: int) -> int:
    return sum(0xFF << 8 * lane for lane in range(4) if byte_enable >> lane & 1)


@each_kind
def test_every_register_has_its_reset_value_at_every_access_width(interface, vectors, registers):
    """PCI-ID-DEV-03, PCI-ID-DEV-04, PCI-LEG-DEV-01 to PCI-LEG-DEV-04."""
    dut = function(interface=interface, vectors=vectors)

    async def bench(ctx: Any) -> None:
        for offset in [*range(0, 0x100, 4), 0x100, 0x104, 0x7FC, 0xFFC]:
            value = registers.get(offset, (0, 0, 0))[0]
            assert await config_read(ctx, dut.config, offset) == value, hex(offset)
        for offset in (0x00, 0x08, 0x4C, 0xA0):
            value = registers.get(offset, (0, 0, 0))[0]
            for half in (0, 2):
                assert await config_read(ctx, dut.config, offset + half, 2) == value >> 8 * half & 0xFFFF
            for byte in range(4):
                assert await config_read(ctx, dut.config, offset + byte, 1) == value >> 8 * byte & 0xFF

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("interface", "latency"), [(Interface.MODERN, 4), (Interface.TRANSITIONAL, 4), (Interface.LEGACY, 2)]
)
def test_an_answer_comes_in_a_fixed_number_of_cycles(interface, latency):
    dut = function(interface=interface)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.config.request.valid, 1)
        assert ctx.get(dut.config.request.ready)
        for cycle in range(latency + 2):
            assert ctx.get(dut.config.response.valid) == (cycle == latency)
            await ctx.tick()
            ctx.set(dut.config.request.valid, 0)

    simulate(dut, bench)


@each_kind
def test_writes_change_just_the_enabled_bytes_of_the_writable_bits(interface, vectors, registers):
    """Bad input: writes to read-only fields.  PCI-CAP-DRV-09: capabilities are read-only but for PCI_CFG."""
    dut = function(interface=interface, vectors=vectors)
    rng = random.Random(1)

    async def bench(ctx: Any) -> None:
        for offset in [*range(0, 0x100, 4), 0x100, 0x400]:
            init, writable, _ = registers.get(offset, (0, 0, 0))
            value = init
            for byte_enable in [15, 15, 1, 2, 4, 8, *rng.sample(range(15), 3)]:
                data = rng.choice((0xFFFF_FFFF, 0, rng.getrandbits(32)))
                if offset == 0x50:
                    data &= ~INITIATE_FLR
                mask = writable & expand(byte_enable)
                wanted = value & ~mask | data & mask
                # D1 and D2 do not exist: such a write is discarded [§7.5.2.2].
                if offset != 0x44 or wanted & 3 in (0, 3):
                    value = wanted
                await config_write(ctx, dut.config, offset, data, byte_enable=byte_enable)
                assert await config_read(ctx, dut.config, offset) == value, (hex(offset), byte_enable)
            await config_write(ctx, dut.config, offset, init & 0xFFFF)

    simulate(dut, bench, deadline=60_000)


def test_halves_and_bytes_are_written_alone():
    dut = function()

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, 0x24, 0x11223344)
        await config_write(ctx, dut.config, 0x26, 0xAABB, 2)
        assert await config_read(ctx, dut.config, 0x24) == 0xAABB3344
        await config_write(ctx, dut.config, 0x25, 0xCC, 1)
        assert await config_read(ctx, dut.config, 0x24) == 0xAABBCC44

    simulate(dut, bench)


def test_bars_tell_their_size_and_take_their_address():
    dut = function(interface=Interface.TRANSITIONAL)

    async def bench(ctx: Any) -> None:
        sizes = {}
        for index in range(6):
            await config_write(ctx, dut.config, 0x10 + 4 * index, 0xFFFFFFFF)
            sizes[index] = await config_read(ctx, dut.config, 0x10 + 4 * index)
        assert sizes == {0: 0xFFFFFF01, 1: 0xFFFFF000, 2: 0, 3: 0, 4: 0xFFFFC00C, 5: 0xFFFFFFFF}
        await config_write(ctx, dut.config, 0x30, 0xFFFFFFFF)
        assert await config_read(ctx, dut.config, 0x30) == 0, "no expansion ROM"
        # An address whose bits below the size are set, byte by byte for BAR 4.
        await config_write(ctx, dut.config, 0x10, 0x8000C0FE)
        await config_write(ctx, dut.config, 0x14, 0xFEBD1FFF)
        for byte in range(8):
            await config_write(ctx, dut.config, 0x20 + byte, 0x12_3456_7800_7FFF >> 8 * byte & 0xFF, 1)
        for command in (0, 1, 2, 3):
            await config_write(ctx, dut.config, 0x04, command)
            assert ctx.get(dut.bars.io_enable) == command & 1
            assert ctx.get(dut.bars.memory_enable) == command >> 1
        assert [ctx.get(base) for base in dut.bars.base] == [0x8000C000, 0xFEBD1000, 0x12_3456_7800_4000]

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("interface", "vectors", "bars"),
    [
        (Interface.MODERN, 3, {1: 0xFFFFF000, 4: 0xFFFFC00C, 5: 0xFFFFFFFF}),
        (Interface.MODERN, 0, {4: 0xFFFFC00C, 5: 0xFFFFFFFF}),
        (Interface.TRANSITIONAL, 0, {0: 0xFFFFFF01, 4: 0xFFFFC00C, 5: 0xFFFFFFFF}),
        (Interface.LEGACY, 3, {0: 0xFFFFFF01, 1: 0xFFFFF000}),
        (Interface.LEGACY, 0, {0: 0xFFFFFF01}),
    ],
)
def test_there_are_just_the_bars_of_the_interfaces_and_of_msix(interface, vectors, bars):
    dut = function(interface=interface, vectors=vectors)
    assert virtio_bars(interface, vectors) == dut.bar_list
    assert [bar.index for bar in dut.bar_list] == [index for index in bars if index != 5]

    async def bench(ctx: Any) -> None:
        for index in range(6):
            await config_write(ctx, dut.config, 0x10 + 4 * index, 0xFFFFFFFF)
            assert await config_read(ctx, dut.config, 0x10 + 4 * index) == bars.get(index, 0)
        await config_write(ctx, dut.config, 0x04, 0x3)
        assert ctx.get(dut.bars.io_enable) == (0 in bars)
        assert await config_read(ctx, dut.config, 0x04, 2) == (0x3 if 0 in bars else 0x2)

    simulate(dut, bench)


@pytest.mark.parametrize("vectors", [0, 1, 128])
@pytest.mark.parametrize("interface", Interface)
def test_the_capability_list_ends_and_has_every_capability_once(interface, vectors):
    """PCI-CAP-DEV-04, PCI-NTF-DEV-01, PCI-ISR-DEV-01, PCI-CFGA-DEV-01, MSIX-DEV-02."""
    dut = function(interface=interface, vectors=vectors)

    async def bench(ctx: Any) -> None:
        assert await config_read(ctx, dut.config, 0x06, 2) & 0x10
        pointer = await config_read(ctx, dut.config, 0x34, 1)
        found, taken = [], set()
        while pointer:
            assert 0x40 <= pointer <= 0xFC and pointer % 4 == 0
            identifier = await config_read(ctx, dut.config, pointer, 1)
            kind, length = None, {0x01: 8, 0x10: 0x3C, 0x11: 12}.get(identifier, 0)
            if identifier == 0x09:
                length = await config_read(ctx, dut.config, pointer + 2, 1)
                kind = await config_read(ctx, dut.config, pointer + 3, 1)
                assert length == {1: 16, 2: 20, 3: 16, 4: 16, 5: 20}[kind]
            if identifier == 0x11:
                assert await config_read(ctx, dut.config, pointer + 2, 2) == vectors - 1
            occupied = set(range(pointer, pointer + length))
            assert max(occupied) <= 0xFF and not occupied & taken
            taken |= occupied
            found.append((identifier, kind))
            pointer = await config_read(ctx, dut.config, pointer + 1, 1)
        wanted = [(0x01, None), (0x10, None)]
        if vectors:
            wanted.append((0x11, None))
        if interface is not Interface.LEGACY:
            wanted += [(0x09, kind) for kind in range(1, 6)]
        assert sorted(found, key=str) == sorted(wanted, key=str)

    simulate(dut, bench)


STATUS, DEVICE_STATUS = 0x06, 0x52
# Status bits and Device Status bits of each event [PCIe base 5.0 §7.5.1.1.4, §7.5.3.5, §6.2.3.2].
EVENTS = {
    "unsupported_request": (0x0000, 0x9),
    "unsupported_posted": (0x0000, 0xA),
    "completer_abort_sent": (0x0800, 0x1),
    "poisoned_received": (0x8000, 0x2),
    "poisoned_completion": (0x8000, 0x2),
    "ur_received": (0x2000, 0x0),
    "ca_received": (0x1000, 0x0),
    "correctable": (0x0000, 0x1),
    "non_fatal": (0x0000, 0x2),
    "fatal": (0x0000, 0x4),
}


def test_each_error_sets_its_bits_and_writing_one_clears_them():
    dut = function()

    async def bench(ctx: Any) -> None:
        for name, (status, device_status) in EVENTS.items():
            await strobe(ctx, dut, name)
            assert await config_read(ctx, dut.config, STATUS, 2) == 0x10 | status, name
            assert await config_read(ctx, dut.config, DEVICE_STATUS, 2) == device_status, name
            # Writing 0 clears nothing, writing 1 to others neither.
            await config_write(ctx, dut.config, STATUS, 0xFFFF & ~status, 2)
            await config_write(ctx, dut.config, DEVICE_STATUS, 0xFFFF & ~device_status, 2)
            assert await config_read(ctx, dut.config, STATUS, 2) == 0x10 | status, name
            assert await config_read(ctx, dut.config, DEVICE_STATUS, 2) == device_status, name
            await config_write(ctx, dut.config, STATUS, status, 2)
            await config_write(ctx, dut.config, DEVICE_STATUS, device_status, 2)
            assert await config_read(ctx, dut.config, STATUS, 2) == 0x10, name
            assert await config_read(ctx, dut.config, DEVICE_STATUS, 2) == 0, name

    simulate(dut, bench)


def test_master_data_parity_error_needs_parity_error_response():
    dut = function()

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, 0x04, 0x40)
        await strobe(ctx, dut, "poisoned_received")
        assert await config_read(ctx, dut.config, STATUS, 2) == 0x8010
        await strobe(ctx, dut, "poisoned_completion")
        assert await config_read(ctx, dut.config, STATUS, 2) == 0x8110

    simulate(dut, bench)


def test_interrupt_status_and_transactions_pending_are_live_and_read_only():
    """Trap 4: PCI-ISR-DEV-04."""
    dut = function()

    async def bench(ctx: Any) -> None:
        for level in (1, 0):
            ctx.set(dut.interrupt_status, level)
            ctx.set(dut.transactions_pending, level)
            await config_write(ctx, dut.config, STATUS, 0x8, 2)
            assert await config_read(ctx, dut.config, STATUS, 2) == 0x10 | level << 3
            assert await config_read(ctx, dut.config, DEVICE_STATUS, 2) == level << 5
        # Interrupt Disable hides the interrupt, not its status.
        ctx.set(dut.interrupt_status, 1)
        assert not ctx.get(dut.interrupt_disable)
        await config_write(ctx, dut.config, 0x04, 0x400)
        assert ctx.get(dut.interrupt_disable)
        assert await config_read(ctx, dut.config, STATUS, 2) == 0x18

    simulate(dut, bench)


@pytest.mark.parametrize("supported", [128, 256, 4096])
def test_payload_size_reads_back_as_written_but_never_exceeds_what_is_supported(supported):
    dut = function(max_payload=supported)

    async def bench(ctx: Any) -> None:
        assert 128 << (await config_read(ctx, dut.config, 0x4C) & 7) == supported
        for encoding in range(8):
            await config_write(ctx, dut.config, 0x50, encoding << 5 | 0x2000, 2)
            assert await config_read(ctx, dut.config, 0x50, 2) >> 5 & 7 == encoding
            assert 128 << ctx.get(dut.dma.max_payload) == min(128 << encoding, supported)

    simulate(dut, bench)


def test_dma_settings_follow_the_registers():
    dut = function()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.completer_id, 0x1238)
        await ctx.tick()
        dma = dut.dma
        assert (ctx.get(dma.requester_id), ctx.get(dma.bus_master)) == (0x1238, 0)
        assert (ctx.get(dma.max_payload), ctx.get(dma.max_read_request)) == (0, 2)
        for encoding in range(8):
            await config_write(ctx, dut.config, 0x50, encoding << 12, 2)
            assert ctx.get(dma.max_read_request) == min(encoding, 5), "4096 bytes is the largest"
        assert not ctx.get(dma.extended_tag)
        await config_write(ctx, dut.config, 0x50, 0x0100, 2)
        assert ctx.get(dma.extended_tag)
        await config_write(ctx, dut.config, 0x04, 0x4, 2)
        assert ctx.get(dma.bus_master)
        await config_write(ctx, dut.config, 0x70, 0x10, 1)
        assert ctx.get(dut.completion_timeout_disable)
        await config_write(ctx, dut.config, 0x86, 0x8000, 2)
        assert (ctx.get(dut.msix.enable), ctx.get(dut.msix.mask)) == (1, 0)
        await config_write(ctx, dut.config, 0x87, 0x40, 1)
        assert (ctx.get(dut.msix.enable), ctx.get(dut.msix.mask)) == (0, 1)

    simulate(dut, bench)


def test_in_d3hot_the_function_neither_masters_the_bus_nor_decodes_and_forgets_nothing():
    dut = function(interface=Interface.TRANSITIONAL)

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, 0x04, 0x7, 2)
        await config_write(ctx, dut.config, 0x14, 0xFE000000)
        for state, running in ((1, 1), (2, 1), (3, 0), (0, 1)):
            await config_write(ctx, dut.config, 0x44, state, 2)
            assert ctx.get(dut.d0) == running
            assert ctx.get(dut.dma.bus_master) == running
            assert ctx.get(dut.bars.memory_enable) == running
            assert ctx.get(dut.bars.io_enable) == running
            assert await config_read(ctx, dut.config, 0x44) == 8 | (0 if running else 3)
        assert await config_read(ctx, dut.config, 0x14) == 0xFE000000

    simulate(dut, bench)


@each_kind
def test_a_function_level_reset_clears_all_but_what_the_standard_keeps(interface, vectors, registers):
    dut = function(interface=interface, vectors=vectors)

    async def bench(ctx: Any) -> None:
        await strobe(ctx, dut, *EVENTS)
        written = {}
        for offset, (_, writable, clears) in registers.items():
            if offset not in (0x44, 0xE4):
                await config_write(ctx, dut.config, offset, writable & ~clears)
                written[offset] = await config_read(ctx, dut.config, offset)
        assert not ctx.get(dut.function_reset)
        await config_write(ctx, dut.config, 0x50, written[0x50] & 0xFFFF | INITIATE_FLR, 2)
        # The write has been answered; the reset lasts as long as the function takes.
        for _ in range(20):
            assert ctx.get(dut.function_reset)
            assert not ctx.get(dut.bars.memory_enable)
            assert not ctx.get(dut.bars.io_enable)
            await ctx.tick()
        assert await config_read(ctx, dut.config, 0x50, 2) & INITIATE_FLR == 0
        ctx.set(dut.function_reset_done, 1)
        await ctx.tick()
        ctx.set(dut.function_reset_done, 0)
        assert not ctx.get(dut.function_reset)
        for offset, (init, _, _) in registers.items():
            kept = KEPT.get(offset, 0)
            wanted = init & ~kept | written.get(offset, 0) & kept
            assert await config_read(ctx, dut.config, offset) == wanted, hex(offset)
        assert not ctx.get(dut.function_reset)
        assert not ctx.get(dut.msix.enable)

    simulate(dut, bench)


def test_initiate_flr_counts_only_in_an_enabled_byte():
    dut = function()

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, 0x50, INITIATE_FLR, byte_enable=0b0001)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.function_reset)
        ctx.set(dut.function_reset_done, 1)  # of no reset
        await ctx.tick().repeat(3)
        assert await config_read(ctx, dut.config, 0x50, 2) == 0x2800
        ctx.set(dut.function_reset_done, 0)
        await config_write(ctx, dut.config, 0x51, 0x80, 1)
        assert ctx.get(dut.function_reset)

    simulate(dut, bench)


def test_a_link_of_2_5_gt_has_no_link_control_2():
    dut = function(link_speed=1, link_width=1)

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.config, 0x78, 0xFFFF)
        assert await config_read(ctx, dut.config, 0x78) == 0
        assert await config_read(ctx, dut.config, 0x54) == 0x0040_0011
        assert await config_read(ctx, dut.config, 0x5A, 2) == 0x1011
        assert await config_read(ctx, dut.config, 0x74) == 0x2

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"vectors": -1}, "vectors is a number from 0 to 128, not -1"),
        ({"vectors": 129}, "vectors is a number from 0 to 128, not 129"),
        ({"max_payload": 200}, "max_payload is a power of two from 128 to 4096, not 200"),
        ({"link_speed": 6}, "link_speed is a number from 1 to 5, not 6"),
        ({"link_width": 3}, "link_width is 1, 2, 4, 8, 12, 16 or 32, not 3"),
        ({"interrupt_pin": 5}, "interrupt_pin is a number from 0 to 4, not 5"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError) as error:
        function(**parameters)
    assert str(error.value) == message


def test_an_interface_is_not_named_by_a_word():
    with pytest.raises(TypeError, match=r"^interface is an Interface, not 'legacy'$"):
        function(interface="legacy")


def test_a_modern_function_does_not_take_a_transitional_subsystem_id():
    with pytest.raises(ValueError, match="subsystem_id is 0x40 or more .* not 0x2"):
        Identity.modern(DeviceType.BLOCK, 0x010000, subsystem_id=2)


@pytest.mark.parametrize(
    ("device_type", "device_id"),
    [
        (DeviceType.NET, 0x1000),
        (DeviceType.BLOCK, 0x1001),
        (DeviceType.BALLOON, 0x1002),
        (DeviceType.CONSOLE, 0x1003),
        (DeviceType.SCSI, 0x1004),
        (4, 0x1005),
        (DeviceType.P9, 0x1009),
    ],
)
def test_a_transitional_identity_is_what_legacy_drivers_look_for(device_type, device_id):
    """PCI-LEG-DEV-01, PCI-LEG-DEV-02, PCI-LEG-DEV-03."""
    assert Identity.transitional(device_type, 0x00FF00) == Identity(
        vendor_id=0x1AF4,
        device_id=device_id,
        subsystem_vendor_id=0x1AF4,
        subsystem_id=device_type,
        revision=0,
        class_code=0x00FF00,
    )


@pytest.mark.parametrize("device_type", [DeviceType.RTC, 63])
def test_a_type_without_a_transitional_id_is_refused(device_type):
    message = f"^virtio device type {int(device_type)} has no transitional PCI device id$"
    with pytest.raises(ValueError, match=message):
        Identity.transitional(device_type, 0x00FF00)
