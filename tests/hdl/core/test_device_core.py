"""The device core without a transport: rules of both interfaces, configuration, interrupts, reset.

What a driver sees of it through registers is tested behind the transports.
"""

from typing import Any

import pytest
from amaranth.lib import data
from amaranth_virtio.core import DeviceCore
from amaranth_virtio.devices.interface import DeviceTable
from helpers.simulation import send, simulate
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
ANY_LAYOUT, VERSION_1 = 1 << 27, 1 << 32

# Bit 5 needs 3, 3 needs 1; bit 7 needs VERSION_1, so it is one of the modern interface only.
OFFERED = 0b1010_1011 | 1 << 40
REQUIRES = {5: (3,), 3: (1,), 7: (32,)}
CONFIG = data.StructLayout({"command": 32, "time": 64, "flags": 8})
HOLD = 50

ENABLE_BYTES = 0b11 << 4
ADDRESS_BYTES = (1 << 24) - 1 << 6


def table(queues: int = 2, **fields: Any) -> DeviceTable:
    return DeviceTable(
        **{"device_type": DeviceType.BLOCK, "class_code": 0, "features": 0, "queues": queues, **fields}
    )


class Host:
    """The transport's side of the core, one strobe per cycle."""

    def __init__(self, ctx: Any, core: Any):
        self.ctx = ctx
        self.core = core
        self.port = core.transport

    def get(self, signal: Any) -> Any:
        return self.ctx.get(signal)

    async def strobe(self, **values: Any) -> None:
        """Drive members of the transport's side for a cycle."""
        for name, value in values.items():
            self.ctx.set(getattr(self.port, name), value)
        await self.ctx.tick()
        for name, value in values.items():
            self.ctx.set(getattr(self.port, name), {} if isinstance(value, dict) else 0)

    async def config_changed(self) -> None:
        self.ctx.set(self.core.config_changed, 1)
        await self.ctx.tick()
        self.ctx.set(self.core.config_changed, 0)

    async def used(self, queue: int) -> None:
        """The engine asks for an interrupt."""
        await send(self.ctx, self.core.interrupt, [queue])

    async def broken(self, **report: int) -> None:
        await send(self.ctx, self.core.error, [report])

    async def status(self, value: int) -> int:
        await self.strobe(status_write=1, status_data=value)
        return self.get(self.port.status)

    async def features(self, value: int) -> int:
        await self.strobe(driver_features_enable=0xFF, driver_features_data=value)
        return self.get(self.port.driver_features)

    async def reset(self) -> None:
        await self.strobe(status_write=1, status_data=0)
        await self.until_reset()

    async def until_reset(self) -> None:
        while self.get(self.core.reset):
            await self.ctx.tick()

    async def enable_queue(self, number: int, address: int = 0x1234_5678_9000) -> int:
        """As the legacy transport does: places and flag in one cycle."""
        self.ctx.set(self.port.queue, number)
        await self.ctx.tick()
        await self.strobe(
            queue_enable=ENABLE_BYTES | ADDRESS_BYTES,
            queue_data={"enable": 1, "desc": address, "driver": address + 0x400, "device": address + 0x1000},
        )
        await self.ctx.tick()
        return self.get(self.port.registers.enable)

    async def kick(self, number: int) -> bool:
        """Whether the kick goes through."""
        self.ctx.set(self.port.kick.p, number)
        self.ctx.set(self.port.kick.valid, 1)
        taken = self.get(self.core.kick.valid) and self.get(self.core.kick.p) == number
        await self.ctx.tick()
        self.ctx.set(self.port.kick.valid, 0)
        return bool(taken)

    async def read_config(self, offset: int, size: int) -> int:
        self.ctx.set(self.port.config_index, offset // 4)
        self.ctx.set(self.port.config_read, (1 << size) - 1 << offset % 4)
        found = self.get(self.port.config_data) >> 8 * (offset % 4) & (1 << 8 * size) - 1
        await self.ctx.tick()
        self.ctx.set(self.port.config_read, 0)
        return found

    async def write_config(self, offset: int, size: int, value: int) -> int:
        """Bytes that reach the device."""
        self.ctx.set(self.port.config_index, offset // 4)
        self.ctx.set(self.port.config_enable, (1 << size) - 1 << offset % 4)
        self.ctx.set(self.port.config_write_data, value << 8 * (offset % 4))
        enable = self.get(self.core.config_write.enable)
        await self.ctx.tick()
        self.ctx.set(self.port.config_enable, 0)
        return enable


def run(bench: Any, *, legacy: bool, arguments: Any = None, **fields: Any) -> None:
    """Run a bench on a started transitional device, whose driver uses the one or the other interface."""
    fields = {"features": OFFERED, "requires": REQUIRES, "config": CONFIG, **fields}
    settings = {"interface": Interface.TRANSITIONAL, "queue_size": 64, "vectors": 3, "config_hold": HOLD}
    core: Any = DeviceCore(table=table(**fields), **{**settings, **(arguments or {})})

    async def bound(ctx: Any) -> None:
        ctx.set(core.idle, 1)
        ctx.set(core.vector.ready, 1)
        ctx.set(core.transport.legacy, legacy)
        host = Host(ctx, core)
        await host.until_reset()
        await bench(host)

    simulate(core, bound, deadline=2_000)


# What can be built


@pytest.mark.parametrize(
    "table, arguments, message",
    [
        (table(queues=-1), {}, "queues must be 0 to 256, not -1"),
        (table(queues=257), {}, "queues must be 0 to 256, not 257"),
        (table(), {"queue_size": 0}, "queue_size must be a power of two up to 32768, not 0"),
        (table(), {"queue_size": 48}, "queue_size must be a power of two up to 32768, not 48"),
        (table(), {"queue_size": 65536}, "queue_size must be a power of two up to 32768, not 65536"),
        (table(), {"vectors": -1}, "vectors must be 0 to 2048, not -1"),
        (table(), {"vectors": 2049}, "vectors must be 0 to 2048, not 2049"),
        (table(), {"config_hold": 0}, "config_hold must be at least 1 cycle, not 0"),
        # FEAT-DEV-01
        (table(features=2, requires={1: (0,)}), {}, "feature 1 is offered without its prerequisite 0"),
        (
            table(features=2, requires={1: (32,)}),
            {"interface": Interface.LEGACY},
            "feature 1 is offered without its prerequisite 32",
        ),
        (
            table(interfaces=(Interface.LEGACY, Interface.TRANSITIONAL)),
            {},
            "interface must be one that the device can have (legacy, transitional), not modern",
        ),
        (
            table(writable=("wce",)),
            {},
            "writable names 'wce', which is no field of the configuration",
        ),
    ],
)
def test_an_impossible_core_is_refused(table, arguments, message):
    with pytest.raises(ValueError) as caught:
        DeviceCore(**{"table": table, "queue_size": 256, "vectors": 2, **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "interface, offered",
    [("modern", 0x1_0000_0200), ("transitional", 0x1_0000_0200), ("legacy", 0x200)],
)
def test_version_1_is_offered_beside_the_features_of_the_table_by_a_modern_side(interface, offered):
    core = DeviceCore(table=table(features=0x200), interface=Interface(interface), queue_size=256, vectors=2)
    assert core.offered == offered


@pytest.mark.parametrize("interface", list(Interface))
def test_a_device_without_queues_has_no_ports_for_them(interface):
    core: Any = DeviceCore(table=table(queues=0), interface=interface, queue_size=64, vectors=0)
    assert not {"lookup", "kick", "interrupt", "error"} & set(core.signature.members)


# Status


def test_a_legacy_driver_needs_nothing_for_driver_ok():
    """FEAT-LEG-DEV-03."""

    async def bench(host):
        assert host.get(host.core.legacy)
        assert await host.status(ACKNOWLEDGE) == ACKNOWLEDGE
        assert await host.status(DRIVER_OK) == ACKNOWLEDGE | DRIVER_OK
        assert host.get(host.core.driver_ok)
        assert await host.status(DRIVER) == ACKNOWLEDGE | DRIVER | DRIVER_OK
        assert await host.status(FAILED) == ACKNOWLEDGE | DRIVER | DRIVER_OK | FAILED
        await host.reset()
        assert host.get(host.port.status) == 0

    run(bench, legacy=True)


def test_a_legacy_driver_cannot_set_features_ok_nor_reserved_bits():
    async def bench(host):
        assert await host.status(FEATURES_OK) == 0
        assert await host.status(0xFF) == ACKNOWLEDGE | DRIVER | DRIVER_OK | FAILED

    run(bench, legacy=True)


def test_a_modern_driver_needs_features_ok_for_driver_ok():
    async def bench(host):
        assert not host.get(host.core.legacy)
        assert await host.status(DRIVER_OK) == 0
        await host.features(VERSION_1)
        assert await host.status(FEATURES_OK) == FEATURES_OK
        assert await host.status(DRIVER_OK) == FEATURES_OK | DRIVER_OK
        assert host.get(host.core.driver_ok)

    run(bench, legacy=False)


@pytest.mark.parametrize("legacy", [False, True])
def test_driver_ok_falls_with_the_reset_and_not_with_the_status(legacy):
    async def bench(host):
        await host.features(VERSION_1)
        await host.status(FEATURES_OK | DRIVER_OK)
        assert host.get(host.core.driver_ok)
        host.ctx.set(host.core.idle, 0)
        await host.strobe(status_write=1, status_data=0)
        for _ in range(5):
            assert not host.get(host.core.driver_ok)
            assert not host.get(host.core.running)
            assert host.get(host.port.status) & DRIVER_OK
            assert not host.get(host.port.busy), "a driver that waits for the end of a reset reads status"
            await host.ctx.tick()
        host.ctx.set(host.core.idle, 1)
        await host.until_reset()
        assert not host.get(host.core.driver_ok)
        assert host.get(host.port.status) == 0

    run(bench, legacy=legacy)


# Features


def counts_on_legacy(written: int) -> int:
    """What a legacy driver's features word amounts to, by repeated removal."""
    counts = written & 0xFFFF_FFFF & (OFFERED | ANY_LAYOUT)
    for _ in range(64):
        for bit, needed in REQUIRES.items():
            if any(not counts >> other & 1 for other in needed):
                counts &= ~(1 << bit)
    return counts


def test_of_a_legacy_drivers_features_what_can_hold_counts():
    """Trap 25: PCI-LEG-DEV-07, FEAT-LEG-DEV-01.

    High features are void. What is not offered or lacks a prerequisite, at any remove, reads back 0.
    """
    assert counts_on_legacy(0xFFFF_FFFF_FFFF_FFFF) == ANY_LAYOUT | 0b10_1011

    async def bench(host):
        words = [*range(256), 0xFFFF_FFFF_FFFF_FFFF, ANY_LAYOUT, VERSION_1 | 0x80, 1 << 40 | 3, 1 << 28 | 2]
        for written in words:
            assert await host.features(written) == counts_on_legacy(written)
            assert host.get(host.core.features) == counts_on_legacy(written)

    run(bench, legacy=True)


def test_a_legacy_driver_may_write_its_features_in_parts():
    async def bench(host):
        await host.strobe(driver_features_enable=0b0001, driver_features_data=0xFFFF_FFFF)
        assert host.get(host.core.features) == 0b10_1011
        await host.strobe(driver_features_enable=0b1000, driver_features_data=0xFFFF_FFFF)
        assert host.get(host.core.features) == ANY_LAYOUT | 0b10_1011

    run(bench, legacy=True)


def test_legacy_features_are_frozen_from_driver_ok_on():
    async def bench(host):
        await host.status(ACKNOWLEDGE | DRIVER)
        await host.features(0b10)
        await host.features(0b1010)
        await host.status(DRIVER_OK)
        assert await host.features(0b1) == 0b1010
        assert host.get(host.core.features) == 0b1010
        await host.reset()
        assert host.get(host.core.features) == 0
        assert await host.features(0b1) == 0b1

    run(bench, legacy=True)


def test_modern_features_show_from_features_ok_on():
    async def bench(host):
        await host.features(VERSION_1 | 0b1)
        assert host.get(host.core.features) == 0
        await host.status(FEATURES_OK)
        assert host.get(host.core.features) == VERSION_1 | 0b1

    run(bench, legacy=False)


def test_a_modern_driver_is_not_offered_any_layout_and_cannot_accept_it():
    async def bench(host):
        assert host.get(host.port.offered) == OFFERED | VERSION_1
        assert await host.features(VERSION_1 | ANY_LAYOUT) == VERSION_1 | ANY_LAYOUT
        assert await host.status(FEATURES_OK) == 0

    run(bench, legacy=False)


def test_nothing_of_one_interface_is_left_for_the_other_after_a_reset():
    """Trap 25: FEAT-LEG-DEV-01.  Each interface in turn, on the same device."""

    async def bench(host):
        for _ in range(2):
            host.ctx.set(host.port.legacy, 1)
            assert host.get(host.core.features) == 0
            assert await host.features(0xFFFF_FFFF_FFFF_FFFF) == ANY_LAYOUT | 0b10_1011
            assert await host.status(DRIVER_OK) == DRIVER_OK
            assert await host.enable_queue(1)
            await host.reset()
            host.ctx.set(host.port.legacy, 0)
            await host.ctx.tick()
            assert host.get(host.port.status) == 0
            assert host.get(host.port.driver_features) == 0
            assert host.get(host.port.registers.enable) == 0
            assert await host.status(FEATURES_OK | DRIVER_OK) == 0
            await host.features(VERSION_1 | 1 << 40)
            await host.status(FEATURES_OK | DRIVER_OK)
            assert host.get(host.core.features) == VERSION_1 | 1 << 40
            await host.reset()

    run(bench, legacy=False)


# Buffers and queues


def test_a_legacy_driver_uses_buffers_before_driver_ok():
    """Trap 9: INIT-LEG-DEV-02."""

    async def bench(host):
        assert host.get(host.core.running)
        assert await host.enable_queue(1)
        assert await host.kick(1)
        await host.status(ACKNOWLEDGE | DRIVER)
        assert await host.kick(1)
        await host.status(DRIVER_OK)
        assert await host.kick(1)

    run(bench, legacy=True)


def test_a_modern_driver_uses_buffers_only_after_driver_ok():
    """Trap 9: INIT-LEG-DEV-02, the other side of it."""

    async def bench(host):
        assert not host.get(host.core.running)
        assert not await host.enable_queue(1)
        await host.features(VERSION_1)
        await host.status(FEATURES_OK)
        assert await host.enable_queue(1)
        assert not host.get(host.core.running)
        assert not await host.kick(1)
        await host.status(DRIVER_OK)
        assert host.get(host.core.running)
        assert await host.kick(1)
        assert not await host.kick(2)

    run(bench, legacy=False)


@pytest.mark.parametrize("status", [0, DRIVER_OK])
def test_failed_stops_a_legacy_device(status):
    async def bench(host):
        await host.status(status | DRIVER)
        await host.status(FAILED)
        assert not host.get(host.core.running)
        assert not await host.kick(0)

    run(bench, legacy=True)


def test_a_legacy_queue_is_enabled_and_placed_in_one_write_and_has_the_devices_size():
    async def bench(host):
        assert await host.enable_queue(1, 0xABC_D000)
        assert await host.enable_queue(1, 0xFFF_F000), "frozen while in use"
        host.ctx.set(host.core.lookup[0].queue, 1)
        await host.ctx.tick()
        context = host.get(host.core.lookup[0].context)
        assert (context.size, context.enable, context.desc) == (64, 1, 0xABC_D000)
        assert (context.driver, context.device) == (0xABC_D400, 0xABC_E000)
        assert not await host.enable_queue(2), "there is no such queue"

    run(bench, legacy=True)


@pytest.mark.parametrize("driver_ok", [False, True])
def test_a_broken_ring_stops_a_legacy_device(driver_ok):
    """The configuration change that tells of it needs DRIVER_OK."""

    async def bench(host):
        await host.status(ACKNOWLEDGE | DRIVER | (DRIVER_OK if driver_ok else 0))
        await host.broken(cause=3, queue=1, head=5)
        assert host.get(host.port.status) & NEEDS_RESET
        assert not host.get(host.core.running)
        assert host.get(host.port.diagnostics.cause) == 3
        await host.ctx.tick().repeat(4)
        assert host.get(host.core.isr) == (2 if driver_ok else 0)
        await host.reset()
        assert host.get(host.core.running)
        assert host.get(host.port.diagnostics.cause) == 0
        assert host.get(host.core.isr) == 0

    run(bench, legacy=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_device_without_queues_starts_and_resets(legacy):
    async def bench(host):
        for queue in (0, 1, 0xFFFF):
            host.ctx.set(host.port.queue, queue)
            await host.ctx.tick()
            registers = host.get(host.port.registers)
            assert (registers.size, registers.vector, registers.enable) == (0, 0xFFFF, 0)
        for _ in range(2):
            await host.features(VERSION_1 | 1)
            await host.status(FEATURES_OK | DRIVER_OK)
            assert host.get(host.core.driver_ok)
            await host.config_changed()
            await host.ctx.tick().repeat(4)
            assert host.get(host.core.isr) == 2
            await host.reset()
            assert host.get(host.core.isr) == 0
            assert host.get(host.port.status) == 0

    run(bench, legacy=legacy, queues=0, arguments={"vectors": 0})


# Device configuration


async def open_time(host: Host) -> None:
    """Read half of the time, and let it change."""
    host.ctx.set(host.core.config.time, 0x11111111_11111111)
    assert await host.read_config(4, 4) == 0x11111111
    host.ctx.set(host.core.config.time, 0x22222222_22222222)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_value_is_coherent_on_both_interfaces(legacy):
    async def bench(host):
        await open_time(host)
        assert await host.read_config(8, 4) == 0x11111111
        assert await host.read_config(8, 4) == 0x22222222

    run(bench, legacy=legacy)


def test_a_read_of_the_generation_lets_go_of_an_unfinished_value():
    async def bench(host):
        await open_time(host)
        await host.strobe(generation_read=1)
        assert await host.read_config(8, 4) == 0x22222222

    run(bench, legacy=False)


def test_a_reset_lets_go_of_an_unfinished_value_when_it_is_asked_for():
    """From then on a value that is read in parts is whole, even over the end of the reset."""

    async def bench(host):
        await host.status(ACKNOWLEDGE)
        await open_time(host)
        host.ctx.set(host.core.idle, 0)
        await host.strobe(status_write=1, status_data=0)
        assert await host.read_config(8, 4) == 0x22222222
        host.ctx.set(host.core.config.time, 0)
        host.ctx.set(host.core.idle, 1)
        await host.until_reset()
        assert await host.read_config(4, 4) == 0x22222222

    run(bench, legacy=True)


def test_an_flr_lets_go_of_an_unfinished_value():
    async def bench(host):
        await open_time(host)
        host.ctx.set(host.core.function_reset, 1)
        await host.ctx.tick().until(host.core.function_reset_done)
        host.ctx.set(host.core.function_reset, 0)
        await host.until_reset()
        assert await host.read_config(8, 4) == 0x22222222

    run(bench, legacy=True)


@pytest.mark.parametrize("pause, expected", [(HOLD - 1, 0x11111111), (HOLD, 0x22222222)])
def test_an_unfinished_value_holds_for_config_hold(pause, expected):
    async def bench(host):
        await open_time(host)
        await host.ctx.tick().repeat(pause)
        assert await host.read_config(8, 4) == expected

    run(bench, legacy=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_writable_fields_are_written_at_any_time_but_during_a_reset(legacy):
    async def bench(host):
        assert await host.write_config(0, 4, 1) == 0b1111
        assert await host.write_config(3, 1, 1) == 0b1000
        assert await host.write_config(4, 4, 1) == 0
        assert await host.write_config(12, 4, 1) == 1 << 12
        await host.features(VERSION_1)
        await host.status(FEATURES_OK | DRIVER_OK)
        assert await host.write_config(2, 2, 1) == 0b1100
        host.ctx.set(host.core.idle, 0)
        await host.strobe(status_write=1, status_data=0)
        assert await host.write_config(0, 4, 1) == 0

    run(bench, legacy=legacy, writable=("command", "flags"))


# Interrupts


async def raise_both(host: Host) -> None:
    """A legacy driver's device with both bits of the ISR status set."""
    await host.status(DRIVER_OK)
    await host.config_changed()
    await host.used(1)
    await host.ctx.tick().repeat(4)
    assert host.get(host.core.isr) == 3


def test_interrupt_status_is_any_isr_bit_while_msix_is_off_and_no_reset_is_under_way():
    async def bench(host):
        ctx, core = host.ctx, host.core
        assert not host.get(core.interrupt_status)
        await raise_both(host)
        assert host.get(core.interrupt_status)
        ctx.set(core.msix_enable, 1)
        assert not host.get(core.interrupt_status)
        ctx.set(core.msix_enable, 0)
        assert host.get(core.interrupt_status)
        ctx.set(core.idle, 0)
        await host.strobe(status_write=1, status_data=0)
        for _ in range(4):
            assert not host.get(core.interrupt_status)
            await ctx.tick()
        ctx.set(core.idle, 1)
        await host.until_reset()
        assert not host.get(core.interrupt_status)
        assert host.get(core.isr) == 0

    run(bench, legacy=True)


@pytest.mark.parametrize("bits", [1, 2])
def test_each_isr_bit_raises_the_interrupt_alone(bits):
    async def bench(host):
        await host.status(DRIVER_OK)
        if bits == 1:
            await host.used(1)
        else:
            await host.config_changed()
        await host.ctx.tick().repeat(4)
        assert host.get(host.core.isr) == bits
        assert host.get(host.core.interrupt_status)
        await host.strobe(isr_read=1)
        assert not host.get(host.core.interrupt_status)

    run(bench, legacy=True)


def test_a_legacy_driver_hears_of_queues_before_driver_ok_and_of_the_configuration_from_then_on():
    async def bench(host):
        await host.config_changed()
        await host.used(1)
        await host.ctx.tick().repeat(4)
        assert host.get(host.core.isr) == 1
        await host.status(DRIVER_OK)
        await host.ctx.tick().repeat(4)
        assert host.get(host.core.isr) == 3

    run(bench, legacy=True)


@pytest.mark.parametrize("write", [False, True])
def test_an_access_to_the_acknowledging_byte_clears_the_configuration_bit_alone(write):
    async def bench(host):
        await raise_both(host)
        access = host.write_config if write else host.read_config
        value = (0,) if write else ()
        for offset in (1, 2, 3, 4, 12):
            await access(offset, 1, *value)
            assert host.get(host.core.isr) == 3
        await access(0, 1, *value)
        assert host.get(host.core.isr) == 1

    run(bench, legacy=True, acknowledge="command", writable=("command",))


def test_without_an_acknowledging_field_only_the_isr_register_clears_the_bit():
    async def bench(host):
        await raise_both(host)
        for offset in range(13):
            await host.read_config(offset, 1)
        assert host.get(host.core.isr) == 3

    run(bench, legacy=True)


@pytest.mark.parametrize("by", ["isr", "acknowledgement"])
def test_what_clears_an_isr_bit_never_clears_one_that_it_could_not_show(by):
    """At every cycle around a change: an event in the cycle of the access wins."""

    async def bench(host):
        await host.status(DRIVER_OK)
        for at in range(-2, 6):
            host.ctx.set(host.core.config.command, 0)
            await host.strobe(isr_read=1)
            shown, command = 0, None
            for cycle in range(-2, 8):
                host.ctx.set(host.core.config_changed, cycle == 0)
                if cycle == 0:
                    host.ctx.set(host.core.config.command, 2)
                if cycle != at:
                    await host.ctx.tick()
                    continue
                shown = host.get(host.port.isr)
                if by == "isr":
                    await host.strobe(isr_read=1)
                else:
                    command = await host.read_config(0, 4)
            assert host.get(host.port.isr) == (0 if shown else 2)
            assert not shown or command in (2, None)

    run(bench, legacy=True, acknowledge="command")
