"""vmmci: the command protocol of vmd, and what the configuration shows."""

import itertools
import random
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth_virtio.devices.vmmci import VmmciDevice
from helpers.simulation import STALLS, design, simulate

NONE, SHUTDOWN, REBOOT, SYNCRTC = range(4)
RAISED, PENDING, NOT_RUNNING, NOT_NEGOTIATED, UNKNOWN = range(5)
ACKNOWLEDGED, OWN_SHUTDOWN, TIMED_OUT = range(3)
SYNCRTC_ACCEPTED = 1 << 2
ACK_TIMEOUT, SHUTDOWN_TIMEOUT = 10, 25


class Bench:
    """A device and its guest, cycle by cycle."""

    def __init__(self, *, features: int = SYNCRTC_ACCEPTED, driver_ok: int = 1):
        self.device: Any = design(VmmciDevice, ack_timeout=ACK_TIMEOUT, shutdown_timeout=SHUTDOWN_TIMEOUT)
        self.features = features
        self.driver_ok = driver_ok

    def run(self, bench: Any, deadline: int = 10_000) -> None:
        async def main(ctx: Any) -> None:
            self.ctx = ctx
            ctx.set(self.device.features, self.features)
            ctx.set(self.device.driver_ok, self.driver_ok)
            await ctx.tick()
            await bench()

        simulate(self.device, main, deadline=deadline)

    async def cycle(self, *, request: int | None = None, write: int = 0, enable: int = 0) -> None:
        """One cycle; what it leads to is seen in the next."""
        ctx, device = self.ctx, self.device
        assert ctx.get(device.request.ready)
        ctx.set(device.request.valid, request is not None)
        ctx.set(device.request.p, request or 0)
        ctx.set(device.config_write.enable, enable)
        ctx.set(device.config_write.data.as_value(), write)
        await ctx.tick()
        ctx.set(device.request.valid, 0)
        ctx.set(device.config_write.enable, 0)

    async def request(self, command: int) -> int:
        await self.cycle(request=command)
        answer = self.answer
        assert answer is not None
        return answer

    async def write(self, value: int) -> tuple[int, int] | None:
        """A 32-bit write; the event that it is."""
        await self.cycle(write=value, enable=0xF)
        return self.event

    async def until_event(self, most: int = 3 * SHUTDOWN_TIMEOUT) -> tuple[int, tuple[int, int] | None]:
        """Cycles from the cause of what is seen now to that of the next event, and the event."""
        for count in range(1, most):
            await self.cycle()
            if self.event:
                return count, self.event
        return most, None

    @property
    def answer(self) -> int | None:
        answer = self.ctx.get(self.device.answer)
        return int(answer.kind) if answer.valid else None

    @property
    def event(self) -> tuple[int, int] | None:
        event = self.ctx.get(self.device.notice)
        return (int(event.kind), event.command) if event.valid else None

    @property
    def register(self) -> int:
        command = self.ctx.get(self.device.config.command)
        assert command == self.ctx.get(self.device.pending)
        return command

    @property
    def changed(self) -> int:
        return self.ctx.get(self.device.config_changed)


# Requests


def test_before_driver_ok_every_request_is_refused_and_nothing_changes():
    bench = Bench(driver_ok=0)

    async def main():
        for command in (SHUTDOWN, REBOOT, SYNCRTC, NONE):
            assert await bench.request(command) == NOT_RUNNING
            assert (bench.register, bench.changed) == (NONE, 0)
        assert (await bench.until_event())[1] is None

    bench.run(main)


@pytest.mark.parametrize("command", [SHUTDOWN, REBOOT, SYNCRTC])
def test_a_request_stands_in_the_register_and_is_a_change_of_the_configuration_once(command):
    bench = Bench()

    async def main():
        assert await bench.request(command) == RAISED
        assert (bench.register, bench.changed, bench.event) == (command, 1, None)
        await bench.cycle()
        assert (bench.register, bench.changed, bench.answer) == (command, 0, None)

    bench.run(main)


def test_none_is_no_command():
    bench = Bench()

    async def main():
        assert await bench.request(NONE) == UNKNOWN
        assert await bench.request(REBOOT) == RAISED
        assert await bench.request(NONE) == UNKNOWN
        assert (bench.register, bench.changed) == (REBOOT, 0)

    bench.run(main)


@pytest.mark.parametrize("command", [SHUTDOWN, REBOOT])
def test_the_pending_command_once_more_changes_nothing_not_even_its_time_out(command):
    bench = Bench()

    async def main():
        assert await bench.request(command) == RAISED
        await bench.cycle()
        assert await bench.request(command) == PENDING
        assert (bench.register, bench.changed) == (command, 0)
        assert await bench.until_event() == (ACK_TIMEOUT - 2, (TIMED_OUT, command))

    bench.run(main)


@pytest.mark.parametrize("features", [0, 0b011])
def test_syncrtc_is_for_guests_that_accepted_it(features):
    bench = Bench(features=features)

    async def main():
        assert await bench.request(SYNCRTC) == NOT_NEGOTIATED
        assert (bench.register, bench.changed) == (NONE, 0)
        assert await bench.request(REBOOT) == RAISED
        assert await bench.request(SYNCRTC) == NOT_NEGOTIATED
        assert bench.register == REBOOT

    bench.run(main)


@pytest.mark.parametrize("first, second", list(itertools.permutations((SHUTDOWN, REBOOT, SYNCRTC), 2)))
def test_another_request_replaces_the_pending_one(first, second):
    """SYNCRTC leaves the time-out of a shutdown or reboot running; those begin their own."""
    bench = Bench()

    async def main():
        assert await bench.request(first) == RAISED
        await bench.cycle()
        assert await bench.request(second) == RAISED
        assert (bench.register, bench.changed) == (second, 1)
        if second == SYNCRTC:
            assert await bench.until_event() == (ACK_TIMEOUT - 2, (TIMED_OUT, first))
        else:
            assert await bench.until_event() == (ACK_TIMEOUT, (TIMED_OUT, second))
        assert bench.register == NONE

    bench.run(main)


def test_requests_are_taken_in_every_cycle():
    bench = Bench()

    async def main():
        commands = (SHUTDOWN, SHUTDOWN, REBOOT, SYNCRTC, SYNCRTC, NONE, SHUTDOWN)
        found = []
        for command in commands:
            await bench.cycle(request=command)
            found.append((bench.answer, bench.register, bench.changed))
        assert found == [
            (RAISED, SHUTDOWN, 1),
            (PENDING, SHUTDOWN, 0),
            (RAISED, REBOOT, 1),
            (RAISED, SYNCRTC, 1),
            (PENDING, SYNCRTC, 0),
            (UNKNOWN, SYNCRTC, 0),
            (RAISED, SHUTDOWN, 1),
        ]

    bench.run(main)


# Acknowledgements


@pytest.mark.parametrize("features", [SYNCRTC_ACCEPTED, 0b111])
def test_syncrtc_is_over_when_it_is_acknowledged(features):
    """Also without ACK: the Linux driver tests another bit."""
    bench = Bench(features=features)

    async def main():
        await bench.request(SYNCRTC)
        assert await bench.write(SYNCRTC) == (ACKNOWLEDGED, SYNCRTC)
        assert (bench.register, bench.changed) == (NONE, 0)
        assert await bench.write(SYNCRTC) is None
        assert (await bench.until_event())[1] is None
        assert await bench.request(SYNCRTC) == RAISED

    bench.run(main)


@pytest.mark.parametrize("command", [SHUTDOWN, REBOOT])
def test_a_shutdown_that_is_acknowledged_has_a_longer_time(command):
    bench = Bench()

    async def main():
        await bench.request(command)
        await bench.cycle()
        assert await bench.write(command) == (ACKNOWLEDGED, command)
        assert bench.register == command
        await bench.cycle()
        assert await bench.write(command) is None, "an acknowledgement counts once"
        assert await bench.until_event() == (SHUTDOWN_TIMEOUT - 2, (TIMED_OUT, command))
        assert (bench.register, bench.changed) == (NONE, 0)
        assert (await bench.until_event())[1] is None

    bench.run(main)


def test_a_new_shutdown_wants_a_new_acknowledgement():
    bench = Bench()

    async def main():
        await bench.request(SHUTDOWN)
        await bench.write(SHUTDOWN)
        assert await bench.request(REBOOT) == RAISED
        assert await bench.write(REBOOT) == (ACKNOWLEDGED, REBOOT)
        assert await bench.request(SYNCRTC) == RAISED
        assert await bench.request(REBOOT) == RAISED
        assert await bench.write(REBOOT) == (ACKNOWLEDGED, REBOOT)

    bench.run(main)


def test_a_shutdown_that_syncrtc_replaced_keeps_its_time_out_when_syncrtc_is_acknowledged():
    bench = Bench()

    async def main():
        await bench.request(REBOOT)
        await bench.request(SYNCRTC)
        assert await bench.write(SYNCRTC) == (ACKNOWLEDGED, SYNCRTC)
        assert await bench.until_event() == (ACK_TIMEOUT - 2, (TIMED_OUT, REBOOT))

    bench.run(main)


@pytest.mark.parametrize("pending", [NONE, SHUTDOWN, REBOOT, SYNCRTC])
def test_what_is_no_acknowledgement_is_ignored(pending):
    """Unknown commands, others than the pending one, and those with more bits."""
    bench = Bench()

    async def main():
        if pending:
            await bench.request(pending)
        others = [NONE, SHUTDOWN, REBOOT, SYNCRTC, 4, 0x101, 0x0001_0002, 0x8000_0003, 2**32 - 1]
        others.remove(pending)
        if not pending:
            others.remove(SHUTDOWN)
        for value in others[:ACK_TIMEOUT]:
            assert await bench.write(value) is None
            assert (bench.register, bench.changed) == (pending, 0)
        if pending in (SHUTDOWN, REBOOT):
            assert await bench.until_event() == (ACK_TIMEOUT - len(others), (TIMED_OUT, pending))

    bench.run(main)


@pytest.mark.parametrize("command", [SHUTDOWN, REBOOT, SYNCRTC])
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_an_acknowledgement_in_bytes_counts_once_in_any_order(command, order):
    """Linux's stock legacy driver writes the first byte first."""
    bench = Bench()

    async def main():
        await bench.request(command)
        events = []
        for byte in order:
            await bench.cycle(write=command, enable=1 << byte)
            events.append(bench.event)
        assert [event for event in events if event] == [(ACKNOWLEDGED, command)]
        assert bench.register == (NONE if command == SYNCRTC else command)

    bench.run(main)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_acknowledgement_in_a_narrower_access_counts(size):
    """What stands in the lanes that are not written does not."""
    bench = Bench()

    async def main():
        await bench.request(REBOOT)
        await bench.cycle(write=REBOOT | (0xFFFF_FFFF << 8 * size & 0xFFFF_FFFF), enable=(1 << size) - 1)
        assert bench.event == (ACKNOWLEDGED, REBOOT)

    bench.run(main)


@pytest.mark.parametrize("pending", [SHUTDOWN, REBOOT, SYNCRTC])
@pytest.mark.parametrize("value", [NONE, SHUTDOWN, REBOOT, SYNCRTC, 0x100, 0x0404])
def test_another_value_in_bytes_is_no_acknowledgement(pending, value):
    """None of its bytes makes one with what the register reads."""
    bench = Bench()

    async def main():
        await bench.request(pending)
        for byte in range(4):
            await bench.cycle(write=value, enable=1 << byte)
            expected = (ACKNOWLEDGED, pending) if value == pending and byte == 0 else None
            assert bench.event == expected

    bench.run(main)


# What the guest begins


def test_a_guest_that_shuts_down_on_its_own_has_the_short_time():
    bench = Bench()

    async def main():
        assert await bench.write(SHUTDOWN) == (OWN_SHUTDOWN, SHUTDOWN)
        assert (bench.register, bench.changed) == (NONE, 0)
        await bench.cycle()
        assert await bench.write(SHUTDOWN) == (OWN_SHUTDOWN, SHUTDOWN)
        assert await bench.until_event() == (ACK_TIMEOUT, (TIMED_OUT, SHUTDOWN))
        assert (await bench.until_event())[1] is None

    bench.run(main)


def test_a_guests_own_shutdown_in_bytes_is_told_once():
    bench = Bench()

    async def main():
        events = []
        for byte in range(4):
            await bench.cycle(write=SHUTDOWN, enable=1 << byte)
            events.append(bench.event)
        assert events == [(OWN_SHUTDOWN, SHUTDOWN), None, None, None]

    bench.run(main)


def test_a_command_that_comes_during_a_guests_own_shutdown_has_a_time_out_of_its_own():
    bench = Bench()

    async def main():
        await bench.write(SHUTDOWN)
        await bench.cycle()
        assert await bench.request(REBOOT) == RAISED
        assert await bench.until_event() == (ACK_TIMEOUT, (TIMED_OUT, REBOOT))

    bench.run(main)


def test_before_driver_ok_writes_are_ignored():
    bench = Bench(driver_ok=0)

    async def main():
        for value in range(4):
            assert await bench.write(value) is None
        bench.ctx.set(bench.device.driver_ok, 1)
        assert (await bench.until_event())[1] is None

    bench.run(main)


# In the same cycle


@pytest.mark.parametrize("early", [0, 1, 2])
def test_an_acknowledgement_up_to_the_cycle_of_the_time_out_wins(early):
    bench = Bench()

    async def main():
        await bench.request(SHUTDOWN)
        for _ in range(ACK_TIMEOUT - 1 - early):
            await bench.cycle()
        assert await bench.write(SHUTDOWN) == (ACKNOWLEDGED, SHUTDOWN)
        assert await bench.until_event() == (SHUTDOWN_TIMEOUT, (TIMED_OUT, SHUTDOWN))

    bench.run(main)


def test_an_acknowledgement_behind_the_time_out_is_a_guests_own_shutdown():
    bench = Bench()

    async def main():
        await bench.request(SHUTDOWN)
        assert await bench.until_event() == (ACK_TIMEOUT, (TIMED_OUT, SHUTDOWN))
        assert await bench.write(SHUTDOWN) == (OWN_SHUTDOWN, SHUTDOWN)

    bench.run(main)


def test_a_time_out_beside_an_acknowledged_syncrtc_is_told_one_cycle_later():
    bench = Bench()

    async def main():
        await bench.request(REBOOT)
        await bench.request(SYNCRTC)
        for _ in range(ACK_TIMEOUT - 2):
            await bench.cycle()
        assert await bench.write(SYNCRTC) == (ACKNOWLEDGED, SYNCRTC)
        assert await bench.until_event() == (1, (TIMED_OUT, REBOOT))

    bench.run(main)


#: Pending, requested and written in one cycle; then answer, event and register.
RACES = [
    (SYNCRTC, SYNCRTC, SYNCRTC, RAISED, (ACKNOWLEDGED, SYNCRTC), SYNCRTC),
    (SYNCRTC, REBOOT, SYNCRTC, RAISED, (ACKNOWLEDGED, SYNCRTC), REBOOT),
    (SYNCRTC, REBOOT, REBOOT, RAISED, None, REBOOT),
    (SHUTDOWN, SHUTDOWN, SHUTDOWN, PENDING, (ACKNOWLEDGED, SHUTDOWN), SHUTDOWN),
    (SHUTDOWN, SYNCRTC, SHUTDOWN, RAISED, (ACKNOWLEDGED, SHUTDOWN), SYNCRTC),
    (REBOOT, SHUTDOWN, SHUTDOWN, RAISED, None, SHUTDOWN),
    (NONE, SHUTDOWN, SHUTDOWN, RAISED, (OWN_SHUTDOWN, SHUTDOWN), SHUTDOWN),
    (NONE, REBOOT, REBOOT, RAISED, None, REBOOT),
]


@pytest.mark.parametrize("pending, requested, written, answer, event, register", RACES)
def test_a_write_in_the_cycle_of_a_request_is_about_what_was_there_before(
    pending, requested, written, answer, event, register
):
    bench = Bench()

    async def main():
        if pending:
            await bench.request(pending)
        await bench.cycle(request=requested, write=written, enable=0xF)
        assert (bench.answer, bench.event, bench.register) == (answer, event, register)
        assert bench.changed == (answer == RAISED)
        if answer == RAISED and requested != SYNCRTC:
            # The new one has its own time, and has not been acknowledged.
            await bench.cycle()
            assert await bench.write(requested) == (ACKNOWLEDGED, requested)

    bench.run(main)


def test_a_request_in_the_cycle_of_the_time_out_is_a_new_one():
    bench = Bench()

    async def main():
        await bench.request(SHUTDOWN)
        for _ in range(ACK_TIMEOUT - 1):
            await bench.cycle()
        assert await bench.request(SHUTDOWN) == RAISED
        assert (bench.event, bench.register, bench.changed) == ((TIMED_OUT, SHUTDOWN), SHUTDOWN, 1)
        assert await bench.until_event() == (ACK_TIMEOUT, (TIMED_OUT, SHUTDOWN))

    bench.run(main)


# Reset


@pytest.mark.parametrize("command", [NONE, SHUTDOWN, REBOOT, SYNCRTC])
@pytest.mark.parametrize("after", [0, 3, ACK_TIMEOUT - 1])
def test_a_reset_ends_command_and_time_out(command, after):
    """Also in the very cycle of the time-out; NONE is a guest's own shutdown."""
    bench = Bench()

    async def main():
        if command:
            await bench.request(command)
        else:
            await bench.write(SHUTDOWN)
        for _ in range(after):
            await bench.cycle()
        bench.ctx.set(bench.device.driver_ok, 0)
        await bench.cycle(write=command or SHUTDOWN, enable=0xF)
        assert (bench.register, bench.event) == (NONE, None)
        bench.ctx.set(bench.device.driver_ok, 1)
        await bench.cycle()
        assert bench.event is None
        assert (await bench.until_event())[1] is None

    bench.run(main)


# All of it in any order


@dataclass
class Reference:
    """The rules, one cycle after another."""

    pending: int = NONE
    acknowledged: bool = False
    deadline: int | None = None
    timed: int = NONE
    now: int = 0

    def cycle(
        self, *, driver_ok: int, syncrtc: int, request: int | None, value: int | None
    ) -> tuple[int | None, tuple[int, int] | None, bool]:
        """Answer, event and whether a command was raised."""
        self.now += 1
        event = self._guest(value) if driver_ok else None
        if driver_ok and event is None and self.deadline is not None and self.now >= self.deadline:
            event = (TIMED_OUT, self.timed)
            self.pending, self.deadline = NONE, None
        if not driver_ok:
            self.pending, self.deadline = NONE, None
        answer = None
        if request is not None:
            answer = self._host(request, driver_ok, syncrtc)
        return answer, event, answer == RAISED

    def _guest(self, value: int | None) -> tuple[int, int] | None:
        if value == SHUTDOWN and self.pending == NONE:
            self.deadline, self.timed = self.now + ACK_TIMEOUT, SHUTDOWN
            return OWN_SHUTDOWN, SHUTDOWN
        if value is None or value == NONE or value != self.pending:
            return None
        if value == SYNCRTC:
            self.pending = NONE
        elif self.acknowledged:
            return None
        else:
            self.acknowledged = True
            self.deadline, self.timed = self.now + SHUTDOWN_TIMEOUT, value
        return ACKNOWLEDGED, value

    def _host(self, command: int, driver_ok: int, syncrtc: int) -> int:
        if not driver_ok:
            return NOT_RUNNING
        if command == NONE:
            return UNKNOWN
        if command == self.pending:
            return PENDING
        if command == SYNCRTC and not syncrtc:
            return NOT_NEGOTIATED
        self.pending = command
        if command != SYNCRTC:
            self.acknowledged = False
            self.deadline, self.timed = self.now + ACK_TIMEOUT, command
        return RAISED


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("features", [0, SYNCRTC_ACCEPTED])
def test_any_sequence_is_answered_as_the_rules_say(stall, features):
    bench = Bench(features=features)
    rng = random.Random(f"{stall} {features}")

    async def main():
        reference = Reference()
        seen = set()
        driver_ok = 1
        for _ in range(3000):
            if rng.random() < 0.01:
                driver_ok = 1 - driver_ok
            elif rng.random() < 0.1:
                driver_ok = 1
            bench.ctx.set(bench.device.driver_ok, driver_ok)
            request = None if rng.random() < max(stall, 0.2) else rng.randrange(4)
            enable = 0 if rng.random() < max(stall, 0.2) else rng.choice([0xF, 0xF, 0xF, 1, 2, 3, 8, 14])
            write = rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 0x101, 0x0300_0000]) if enable else 0
            value = None
            if enable & 1:
                value = sum(write & 0xFF << 8 * n for n in range(4) if enable >> n & 1)
            expected = reference.cycle(driver_ok=driver_ok, syncrtc=features, request=request, value=value)
            await bench.cycle(request=request, write=write, enable=enable)
            assert (bench.answer, bench.event, bool(bench.changed)) == expected
            assert bench.register == reference.pending
            seen.add((expected[0], expected[1] and expected[1][0]))
        answers, events = {a for a, _ in seen}, {e for _, e in seen}
        assert events == {None, ACKNOWLEDGED, OWN_SHUTDOWN, TIMED_OUT}
        assert answers == {None, RAISED, PENDING, NOT_RUNNING, UNKNOWN} | (
            set() if features else {NOT_NEGOTIATED}
        )

    bench.run(main)


# Configuration


@pytest.mark.parametrize(
    "seconds, microseconds",
    [(0, 0), (1_700_000_000, 999_999), (0x1_2345_6789, 1), (-1, 999_999), (-(2**63), 0), (2**63 - 1, 5)],
)
def test_the_time_is_shown_in_the_same_cycle_and_where_the_guests_expect_it(seconds, microseconds):
    bench = Bench()

    async def main():
        ctx, device = bench.ctx, bench.device
        await bench.request(REBOOT)
        ctx.set(device.clock.seconds, seconds)
        ctx.set(device.clock.microseconds, microseconds)
        raw = ctx.get(device.config.as_value()).to_bytes(20, "little")
        assert raw[0:4] == b"\2\0\0\0"
        assert raw[4:12] == seconds.to_bytes(8, "little", signed=True)
        assert raw[12:20] == microseconds.to_bytes(8, "little")
        await bench.cycle()
        assert not bench.changed, "a clock is no change of the configuration"

    bench.run(main)


def test_writes_to_the_time_do_nothing():
    bench = Bench()

    async def main():
        await bench.request(SYNCRTC)
        await bench.cycle(write=SYNCRTC << 32 | SYNCRTC << 96, enable=0xF_FFF0)
        assert (bench.event, bench.register) == (None, SYNCRTC)

    bench.run(main)


def test_the_table_names_openbsds_device():
    table = VmmciDevice().table
    identity = table.identity
    assert identity is not None
    assert (identity.vendor_id, identity.device_id) == (0x0B5D, 0x0777)
    assert (identity.subsystem_vendor_id, identity.subsystem_id) == (0x0B5D, 0xFFFF)
    assert (identity.revision, identity.class_code) == (0, 0x078000)
    assert (table.features, table.queues, table.msix) == (0b111, 0, False)
    assert table.interfaces == ("legacy",)
    assert (table.writable, table.acknowledge, table.together) == (
        ("command",),
        "command",
        (("time_sec", "time_usec"),),
    )


def test_time_outs_are_seconds_at_250_mhz_unless_given():
    device = VmmciDevice()
    assert (device.ack_timeout, device.shutdown_timeout) == (3 * 250_000_000, 120 * 250_000_000)


@pytest.mark.parametrize("name", ["ack_timeout", "shutdown_timeout"])
@pytest.mark.parametrize("cycles", [0, -1])
def test_an_impossible_time_out_is_refused(name, cycles):
    arguments: dict[str, Any] = {name: cycles}
    with pytest.raises(ValueError) as caught:
        VmmciDevice(**arguments)
    assert str(caught.value) == f"{name} must be 1 or more cycles, not {cycles}"
