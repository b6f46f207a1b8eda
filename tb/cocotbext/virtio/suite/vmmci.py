"""OpenBSD's vmmci(4): what its guests see, and what the host hears of them.

The device is outside the standard; what is proven of it is what it shares with every legacy device.
"""

from functools import partial

from virtio_spec import vmmci, wire
from virtio_spec.pci import Capability, ConfigOffset
from virtio_spec.virtio import DeviceStatus, Feature, feature_mask
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciConfig, VmmciEvent, VmmciFeature

from ..devices.vmmci import VirtioVmmci
from ..driver import VirtioDevice
from .helpers import QUIET_NS, same
from .registry import LEGACY, Bench, HostSide, case

__all__: list[str] = []

NONE, SHUTDOWN = VmmciCommand.NONE, VmmciCommand.SHUTDOWN
REBOOT, SYNCRTC = VmmciCommand.REBOOT, VmmciCommand.SYNCRTC
ACKNOWLEDGED, TIMED_OUT = VmmciEvent.ACKNOWLEDGED, VmmciEvent.TIMED_OUT
RAISED, PENDING = VmmciAnswer.RAISED, VmmciAnswer.PENDING
HABITS = ("natural", "bytes")
CONFIG = 2  # of the ISR status

on_vmmci = partial(case, devices=("vmmci",), transports=LEGACY, interfaces=LEGACY)


def host_side(bench: Bench) -> HostSide:
    """The port of the host."""
    if bench.vmmci is None:
        raise LookupError("this bench has no vmmci")
    return bench.vmmci


async def guest(bench: Bench, *, habit: str = "natural", features: int | None = None) -> VirtioVmmci:
    """A driver at DRIVER_OK."""
    device = await bench.probe(habit=habit)
    await device.start(features=features)
    return VirtioVmmci(device)


async def ask(bench: Bench, command: int, answer: VmmciAnswer) -> None:
    """Ask for a command; ``AssertionError`` unless the device answers so. Takes a moment."""
    same(await host_side(bench).request(command), answer, f"the answer to command {command}")
    await bench.host.sleep(QUIET_NS // 4)


async def heard(bench: Bench, *expected: tuple[VmmciEvent, VmmciCommand]) -> None:
    """``AssertionError`` unless these are the events since the last look."""
    await bench.host.sleep(QUIET_NS // 4)
    events = host_side(bench).events
    same(list(events), list(expected), "what the host heard")
    events.clear()


async def interrupted(bench: Bench, expected: bool, what: str) -> None:
    """``AssertionError`` unless INTx is so."""
    await bench.host.sleep(QUIET_NS // 4)
    same(bench.host.intx(), expected, f"INTx {what}")


# -- identity and registers ---------------------------------------------------------------------------


@on_vmmci(proves=("PCI-ID-DEV-01", "PCI-LEG-DEV-01", "PCI-LEG-DEV-11"))
async def the_function_is_openbsds(bench: Bench) -> None:
    read = bench.host.config_read
    same(await read(ConfigOffset.VENDOR_ID, 2), vmmci.VENDOR_ID, "vendor id")
    same(await read(ConfigOffset.DEVICE_ID, 2), vmmci.DEVICE_ID, "device id")
    same(await read(ConfigOffset.SUBSYSTEM_VENDOR_ID, 2), vmmci.VENDOR_ID, "subsystem vendor id")
    same(await read(ConfigOffset.SUBSYSTEM_ID, 2), vmmci.SUBSYSTEM_ID, "subsystem id")
    same(await read(ConfigOffset.REVISION_ID, 4), 0x0780_0000, "class code and revision")
    device = await bench.probe()
    same(device.transport.has(Capability.MSIX), False, "whether there is MSI-X")
    same(await device.transport.num_queues(), 0, "number of queues")


@on_vmmci(
    proves=("FEAT-DEV-01", "FEAT-DEV-04", "FEAT-LEG-DEV-03", "RFB-LEG-DEV-03", "RFB-LEG-DEV-04"),
)
async def its_features_are_timesync_ack_and_syncrtc(bench: Bench) -> None:
    transport = (await bench.probe()).transport
    known = feature_mask(*VmmciFeature)
    offered = await transport.offered_features()
    same(offered, known | feature_mask(Feature.ANY_LAYOUT), "the features offered")
    await transport.accept_features(known)
    same(await transport.accepted_features(), known, "the features accepted")


@on_vmmci(proves=("PCI-LEG-DEV-05", "CFG-DEV-01"), traps=(24, 26))
async def both_habits_read_the_same_time(bench: Bench) -> None:
    times = [(1_500_000_000, 123_456), (-1, 999_999), (0x1_0000_0000, 0), (0x7FFF_FFFF_0000_0001, 0x8_0001)]
    times += [(bench.rng.getrandbits(62), bench.rng.randrange(1_000_000)) for _ in range(3)]
    for before_driver_ok in (True, False):
        for time in times:
            bench.clock.set(*time)
            for habit in HABITS:
                found = await VirtioVmmci(await bench.probe(habit=habit)).time()
                same(found, time, f"the time, read in the habit {habit}")
        if before_driver_ok:
            await guest(bench)


@on_vmmci(proves=("PCI-LEG-DEV-05",), traps=(24,))
async def the_drift_of_a_guests_clock_is_exact(bench: Bench) -> None:
    for habit in HABITS:
        at = await guest(bench, habit=habit)
        bench.clock.set(1_700_000_000, 250_000)
        host_ns = 1_700_000_000_250_000_000
        for drift in (0, 1, -1_000, 20_000_000_123):
            same(await at.drift(host_ns + drift), drift, f"drift in ns, in the habit {habit}")


@on_vmmci(proves=("PCI-LEG-DEV-06", "CFG-DEV-01"))
async def the_time_is_read_only(bench: Bench) -> None:
    at = await guest(bench)
    bench.clock.set(0x1234_5678_9ABC, 4_321)
    for offset in range(wire.field_offset(VmmciConfig, "time_sec"), wire.size(VmmciConfig), 4):
        await at.device.transport.config_write(offset, 4, 0xFFFF_FFFF)
        await at.device.transport.config_write(offset + 1, 1, 0)
    same(await at.time(), (0x1234_5678_9ABC, 4_321), "the time")
    same(await at.command(), NONE, "the command")
    await heard(bench)


# -- commands and acknowledgements ---------------------------------------------------------------------


@on_vmmci(proves=("NOTIF-DEV-P01", "PCI-ISR-DEV-02", "PCI-ISR-DEV-03"), traps=(2,))
async def a_command_is_told_by_a_configuration_change(bench: Bench) -> None:
    for habit in HABITS:
        for command in (SYNCRTC, SHUTDOWN, REBOOT):
            at = await guest(bench, habit=habit)
            await interrupted(bench, False, "before the command")
            await ask(bench, command, RAISED)
            await interrupted(bench, True, f"after {command.name}")
            same(await at.device.transport.isr(), CONFIG, "ISR")
            same(await at.command(), command, f"the command, read in the habit {habit}")
            await at.acknowledge(command)
            await heard(bench, (ACKNOWLEDGED, command))
            same(await at.command(), NONE if command is SYNCRTC else command, "the command, acknowledged")


@on_vmmci(proves=("STATUS-DEV-01", "NOTIF-DEV-P01"))
async def commands_before_driver_ok_are_refused(bench: Bench) -> None:
    device = await bench.probe()
    for step in (DeviceStatus(0), DeviceStatus.ACKNOWLEDGE, DeviceStatus.DRIVER):
        if step:
            await device.transport.add_status(step)
        for command in (SHUTDOWN, REBOOT, SYNCRTC):
            await ask(bench, command, VmmciAnswer.NOT_RUNNING)
    await interrupted(bench, False, "after refused commands")
    same(await VirtioVmmci(device).command(), NONE, "the command")
    at = await guest(bench)
    same(await at.command(), NONE, "the command after DRIVER_OK")
    await heard(bench)


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def no_command_is_an_unknown_one(bench: Bench) -> None:
    at = await guest(bench)
    await ask(bench, NONE, VmmciAnswer.UNKNOWN)
    await ask(bench, SHUTDOWN, RAISED)
    await ask(bench, NONE, VmmciAnswer.UNKNOWN)
    same(await at.command(), SHUTDOWN, "the command")


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def the_pending_command_again_is_nothing_new(bench: Bench) -> None:
    for command in (SYNCRTC, SHUTDOWN, REBOOT):
        at = await guest(bench)
        await ask(bench, command, RAISED)
        same(await at.device.transport.isr(), CONFIG, "ISR")
        await ask(bench, command, PENDING)
        await interrupted(bench, False, "after the same command again")
        same(await at.device.transport.isr(), 0, "ISR after the same command again")


@on_vmmci(proves=("FEAT-LEG-DEV-03",))
async def syncrtc_needs_its_feature(bench: Bench) -> None:
    both = feature_mask(VmmciFeature.TIMESYNC, VmmciFeature.ACK)
    at = await guest(bench, features=both)
    await ask(bench, SYNCRTC, VmmciAnswer.NOT_NEGOTIATED)
    await interrupted(bench, False, "after a refused SYNCRTC")
    await ask(bench, SHUTDOWN, RAISED)
    same(await at.command(), SHUTDOWN, "the command")


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def another_command_replaces_the_pending_one(bench: Bench) -> None:
    at = await guest(bench)
    for command in (SYNCRTC, SHUTDOWN, REBOOT, SYNCRTC):
        await ask(bench, command, RAISED)
        same(await at.command(), command, "the command")
    await at.acknowledge(REBOOT)
    await heard(bench)
    await at.acknowledge(SYNCRTC)
    await heard(bench, (ACKNOWLEDGED, SYNCRTC))


@on_vmmci(proves=("PCI-LEG-DEV-05",), traps=(24,))
async def an_acknowledgement_counts_once_in_either_habit(bench: Bench) -> None:
    for habit in HABITS:
        for command in (SHUTDOWN, REBOOT):
            at = await guest(bench, habit=habit)
            await ask(bench, command, RAISED)
            for _ in range(3):
                await at.acknowledge(command)
            await heard(bench, (ACKNOWLEDGED, command))
            same(await at.command(), command, "the command")
        at = await guest(bench, habit=habit)
        await ask(bench, SYNCRTC, RAISED)
        await at.acknowledge(SYNCRTC)
        await at.acknowledge(SYNCRTC)
        await heard(bench, (ACKNOWLEDGED, SYNCRTC))
        same(await at.command(), NONE, "the command")


@on_vmmci(proves=("PCI-LEG-DEV-05",))
async def other_acknowledgements_are_ignored(bench: Bench) -> None:
    for habit in HABITS:
        at = await guest(bench, habit=habit)
        for value in (
            NONE,
            REBOOT,
            SYNCRTC,
            4,
            5,
            0x0100,
            0x0101,
            0x0300,
            0x1_0000,
            0x8000_0000,
            0xFFFF_FFFF,
        ):
            if habit == "natural" or value <= 0xFF:
                await at.acknowledge(value)
        await heard(bench)
        await ask(bench, SYNCRTC, RAISED)
        for value in (NONE, REBOOT, 4, 7, 0xFF):
            await at.acknowledge(value)
        await heard(bench)
        same(await at.command(), SYNCRTC, "the command")
        await at.acknowledge(SYNCRTC)
        await heard(bench, (ACKNOWLEDGED, SYNCRTC))


@on_vmmci(proves=("PCI-LEG-DEV-05",))
async def the_last_three_bytes_alone_say_nothing(bench: Bench) -> None:
    at = await guest(bench)
    for command in (NONE, SHUTDOWN, SYNCRTC):
        if command:
            await ask(bench, command, RAISED)
        for offset, size in ((1, 1), (2, 1), (3, 1), (1, 2), (2, 2)):
            await at.device.transport.config_write(offset, size, 0)
        await heard(bench)
        same(await at.command(), command, "the command")


@on_vmmci(proves=("FEAT-LEG-DEV-03",))
async def an_acknowledgement_counts_without_its_feature(bench: Bench) -> None:
    """Linux's driver looks at the wrong bit before it acknowledges."""
    at = await guest(bench, features=feature_mask(VmmciFeature.TIMESYNC))
    await ask(bench, REBOOT, RAISED)
    await at.acknowledge(REBOOT)
    await heard(bench, (ACKNOWLEDGED, REBOOT))


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def a_guest_can_shut_down_on_its_own(bench: Bench) -> None:
    for habit in HABITS:
        at = await guest(bench, habit=habit)
        await at.request_shutdown()
        await heard(bench, (VmmciEvent.SHUTDOWN, SHUTDOWN))
        await interrupted(bench, False, "after the guest's own shutdown")
        await bench.host.sleep(bench.ack_timeout_ns + QUIET_NS)
        await heard(bench, (TIMED_OUT, SHUTDOWN))


# -- time-outs -------------------------------------------------------------------------------------------


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def a_command_that_is_not_acknowledged_times_out(bench: Bench) -> None:
    for command in (SHUTDOWN, REBOOT):
        at = await guest(bench)
        await ask(bench, command, RAISED)
        await bench.host.sleep(bench.ack_timeout_ns // 2)
        await heard(bench)
        await bench.host.sleep(bench.ack_timeout_ns)
        await heard(bench, (TIMED_OUT, command))
        same(await at.command(), NONE, "the command")
        await ask(bench, command, RAISED)


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def an_acknowledgement_gives_the_guest_more_time(bench: Bench) -> None:
    for command in (SHUTDOWN, REBOOT):
        at = await guest(bench)
        await ask(bench, command, RAISED)
        await at.acknowledge(command)
        await bench.host.sleep(bench.ack_timeout_ns + QUIET_NS)
        await heard(bench, (ACKNOWLEDGED, command))
        same(await at.command(), command, "the command")
        await bench.host.sleep(bench.shutdown_timeout_ns)
        await heard(bench, (TIMED_OUT, command))
        same(await at.command(), NONE, "the command")


@on_vmmci(proves=("NOTIF-DEV-P01",))
async def a_syncrtc_may_take_as_long_as_it_likes(bench: Bench) -> None:
    at = await guest(bench)
    await ask(bench, SYNCRTC, RAISED)
    await bench.host.sleep(2 * bench.ack_timeout_ns)
    await heard(bench)
    await at.acknowledge(SYNCRTC)
    await heard(bench, (ACKNOWLEDGED, SYNCRTC))


@on_vmmci(proves=("RESET-DEV-01", "RESET-DEV-02"), traps=(6,))
async def a_reset_forgets_the_command_and_its_time(bench: Bench) -> None:
    for acknowledged in (False, True):
        at = await guest(bench)
        await ask(bench, REBOOT, RAISED)
        if acknowledged:
            await at.acknowledge(REBOOT)
        await at.device.reset()
        await interrupted(bench, False, "after the reset")
        same(await at.command(), NONE, "the command after the reset")
        await heard(bench, *[(ACKNOWLEDGED, REBOOT)] * acknowledged)
        await bench.host.sleep(bench.ack_timeout_ns + bench.shutdown_timeout_ns + QUIET_NS)
        await heard(bench)
        await ask(bench, REBOOT, VmmciAnswer.NOT_RUNNING)


# -- a guest that never reads the ISR status -----------------------------------------------------------


async def raised(bench: Bench) -> tuple[VirtioDevice, VirtioVmmci]:
    """A guest that INTx is asserted for."""
    at = await guest(bench)
    await ask(bench, SYNCRTC, RAISED)
    await interrupted(bench, True, "after the command")
    return at.device, at


@on_vmmci(proves=("PCI-ISR-DEV-05", "PCI-ISR-DEV-P01"), traps=(3,))
async def reading_the_isr_takes_the_interrupt_back(bench: Bench) -> None:
    device, at = await raised(bench)
    same(await device.transport.isr(), CONFIG, "ISR")
    await interrupted(bench, False, "after a read of the ISR")
    same(await at.command(), SYNCRTC, "the command")


@on_vmmci(proves=("PCI-ISR-DEV-P01",))
async def reading_the_command_takes_the_interrupt_back(bench: Bench) -> None:
    """In either habit; but not reading the time, nor the other bytes of the command."""
    for habit in HABITS:
        device, _ = await raised(bench)
        at = VirtioVmmci(await bench.probe(habit=habit))
        await at.time()
        for offset, size in ((1, 1), (2, 2), (3, 1)):
            await device.transport.config_read(offset, size)
        await interrupted(bench, True, "after reads of other bytes")
        same(await at.command(), SYNCRTC, "the command")
        await interrupted(bench, False, f"after a read of the command in the habit {habit}")
        same(await device.transport.isr(), 0, "ISR")


@on_vmmci(proves=("PCI-ISR-DEV-P01",))
async def acknowledging_takes_the_interrupt_back(bench: Bench) -> None:
    for habit in HABITS:
        device, _ = await raised(bench)
        await VirtioVmmci(await bench.probe(habit=habit)).acknowledge(SYNCRTC)
        await interrupted(bench, False, f"after an acknowledgement in the habit {habit}")
        same(await device.transport.isr(), 0, "ISR")
        await heard(bench, (ACKNOWLEDGED, SYNCRTC))


@on_vmmci(proves=("PCI-ISR-DEV-P01", "PCI-ISR-DEV-03"), traps=(3,))
async def each_command_asserts_it_again(bench: Bench) -> None:
    at, before = await guest(bench), bench.host.intx_asserted()
    for count, command in enumerate((SYNCRTC, SHUTDOWN, REBOOT, SHUTDOWN), 1):
        await ask(bench, command, RAISED)
        await interrupted(bench, True, f"after {command.name}")
        same(await at.command(), command, "the command")
        await interrupted(bench, False, "after a read of the command")
        same(bench.host.intx_asserted(), before + count, "Assert_INTA messages")
