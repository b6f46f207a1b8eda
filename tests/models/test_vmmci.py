"""The vmmci device, as two kinds of guests use it."""

import pytest
from virtio_models.clock import Clock
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

CONFIG = 20
ACK_NS, SHUTDOWN_NS = 3_000_000_000, 120_000_000_000
NONE, SHUTDOWN, REBOOT, SYNCRTC = VmmciCommand
ACKNOWLEDGED, GUEST_SHUTDOWN, TIMED_OUT = VmmciEvent


@pytest.fixture
def clock():
    return Clock(0, 0)


@pytest.fixture
def kind(clock):
    return Vmmci(clock)


@pytest.fixture
def device(make, kind):
    return make(kind, interface=Interface.LEGACY)


@pytest.fixture
def running(device):
    device.pci.bar_write(0, 4, 4, 7)
    device.pci.bar_write(0, 18, 1, 7)
    return device


class Reader:
    """Reads configuration in pieces of one width; ``before`` is called before each."""

    def __init__(self, size):
        self.size = size

    def __call__(self, device, offset, length, before=lambda: None):
        content = bytearray()
        for start in range(offset, offset + length, self.size):
            before()
            content += device.pci.bar_read(0, CONFIG + start, self.size).to_bytes(self.size, "little")
        return bytes(content)


natural = Reader(4)  # OpenBSD's driver and virtio_pci_obsd
halves = Reader(2)
bytewise = Reader(1)  # Linux's legacy driver


def packed(seconds, microseconds):
    return seconds.to_bytes(8, "little", signed=True) + microseconds.to_bytes(8, "little")


def write_word(device, value):
    device.pci.bar_write(0, CONFIG, 4, value)


def write_bytes(device, value):
    for number, byte in enumerate(value.to_bytes(4, "little")):
        device.pci.bar_write(0, CONFIG + number, 1, byte)


WRITES = pytest.mark.parametrize("write", [write_word, write_bytes])


def test_it_is_what_openbsds_guests_look_for(device):
    config = device.pci.config
    assert [config.get(offset, 2) for offset in (0x00, 0x02, 0x2C, 0x2E)] == [0x0B5D, 0x0777, 0x0B5D, 0xFFFF]
    assert (config.get(8, 1), config.get(9, 3)) == (0, 0x078000)
    assert config.get(0x3D, 1) == 1
    assert (config.msix, config.window) == (0, 0)
    assert device.pci.bar_read(0, 0, 4) & 0xFF == 7


def test_it_has_the_legacy_interface_only(make, clock):
    for interface in (Interface.MODERN, Interface.TRANSITIONAL):
        with pytest.raises(ValueError, match=f"this device type is legacy, not {interface}"):
            make(Vmmci(clock), interface=interface)
    with pytest.raises(ValueError, match="this device type has no MSI-X, so no 2 vectors"):
        make(Vmmci(clock), interface=Interface.LEGACY, vectors=2)


HABITS = pytest.mark.parametrize("habit", [natural, halves, bytewise], ids=["words", "halves", "bytes"])


def read_with_one_tick(device, clock, habit, tick):
    """Both fields; the clock carries into the upper word before read number ``tick``."""
    number = 0

    def before():
        nonlocal number
        if number == tick:
            clock.advance(1)
        number += 1

    clock.set(0xFFFF_FFFF, 999_999)
    return habit(device, 4, 16, before)


@HABITS
def test_every_habit_reads_one_instant_wherever_the_clock_carries(device, clock, habit):
    """Trap 24: PCI-LEG-DEV-05."""
    expected = [packed(0x1_0000_0000, 0)] + [packed(0xFFFF_FFFF, 999_999)] * (16 // habit.size)
    assert [read_with_one_tick(device, clock, habit, tick) for tick in range(len(expected))] == expected


@HABITS
@pytest.mark.parametrize("ahead", range(1, 17))
def test_a_clock_that_runs_between_all_reads_is_never_torn(device, clock, habit, ahead):
    clock.set(0xFFFF_FFFF, 10**6 - ahead)
    for _ in range(3):
        seen = []

        def tick(seen=seen):
            clock.advance(1)
            seen.append(packed(*clock.now()))

        assert habit(device, 4, 16, tick) == seen[0]


def test_reads_in_the_order_of_vmds_guest_have_the_high_words_right(device, clock):
    clock.set(0x12_3456_789A, 7)
    found = []
    for offset in (4, 8, 12, 16):
        found.append(device.pci.bar_read(0, CONFIG + offset, 4))
        clock.advance(999_999)
    assert found == [0x3456_789A, 0x12, 7, 0]


def test_times_before_1970_are_negative_numbers_of_64_bits(device, clock):
    clock.set(-2, 5)
    assert natural(device, 4, 16) == packed(-2, 5)


def test_the_rest_of_a_read_is_dropped_after_a_second(device, clock):
    clock.set(0x1_0000_0001)
    device.pci.bar_read(0, CONFIG + 4, 4)
    clock.set(0x2_0000_0002)
    device.elapse(999_999_999)
    assert device.pci.bar_read(0, CONFIG + 8, 4) == 1
    device.elapse(1_000_000_000)
    assert device.pci.bar_read(0, CONFIG + 12, 4) == 0
    assert device.pci.bar_read(0, CONFIG + 8, 4) == 2


def test_the_time_cannot_be_written(running, kind, clock):
    clock.set(0x11_2233_4455, 6)
    for offset in (4, 8, 12, 16):
        running.pci.bar_write(0, CONFIG + offset, 4, 0xFFFF_FFFF)
    assert natural(running, 4, 16) == packed(0x11_2233_4455, 6)
    assert kind.events == []


@pytest.mark.parametrize("command", [*VmmciCommand, 4, 255])
def test_nothing_is_raised_before_the_driver_is_ready(device, kind, command):
    device.pci.bar_write(0, 4, 4, 7)
    device.pci.bar_write(0, 18, 1, 3)
    assert kind.request(command) == VmmciAnswer.NOT_RUNNING
    assert (kind.pending, device.dma.sent, device.isr) == (NONE, [], 0)


@pytest.mark.parametrize("command", [0, 4, 255])
def test_what_is_no_command_is_refused(running, kind, command):
    assert kind.request(command) == VmmciAnswer.UNKNOWN
    assert (kind.pending, running.dma.sent) == (NONE, [])


def test_syncrtc_needs_its_feature(device, kind):
    device.pci.bar_write(0, 4, 4, 3)
    device.pci.bar_write(0, 18, 1, 7)
    assert kind.request(SYNCRTC) == VmmciAnswer.NOT_NEGOTIATED
    assert kind.request(REBOOT) == VmmciAnswer.RAISED


@pytest.mark.parametrize("command", [SHUTDOWN, REBOOT, SYNCRTC])
@WRITES
def test_a_command_is_told_and_acknowledged_once(running, kind, command, write):
    assert kind.request(command) == VmmciAnswer.RAISED
    assert running.dma.sent == ["assert"]
    assert kind.request(command) == VmmciAnswer.PENDING
    assert running.dma.sent == ["assert"]
    assert running.pci.bar_read(0, CONFIG, 4) == command
    assert running.dma.sent == ["assert", "deassert"]
    for value in (command, command, NONE):
        write(running, value)
        assert kind.events == [(ACKNOWLEDGED, command)]
        assert kind.pending == (NONE if command == SYNCRTC else command)


@pytest.mark.parametrize("access", ["read", "write", "isr"])
def test_intx_is_taken_back_by_the_command_or_the_isr(running, kind, access):
    """A driver that never reads the ISR, and one that does."""
    kind.request(REBOOT)
    running.pci.bar_read(0, CONFIG + 4, 4)
    running.pci.bar_read(0, CONFIG + 1, 1)
    running.pci.bar_write(0, CONFIG + 1, 1, 0)
    assert running.dma.sent == ["assert"]
    if access == "read":
        running.pci.bar_read(0, CONFIG, 1)
    elif access == "write":
        running.pci.bar_write(0, CONFIG, 1, 9)
    else:
        assert running.pci.bar_read(0, 19, 1) == 2
    assert running.dma.sent == ["assert", "deassert"]
    assert kind.request(SHUTDOWN) == VmmciAnswer.RAISED
    assert running.dma.sent == ["assert", "deassert", "assert"]


@WRITES
@pytest.mark.parametrize("pending", [SHUTDOWN, REBOOT, SYNCRTC])
def test_another_value_is_no_acknowledgement(running, kind, pending, write):
    """Byte by byte too, where the last bytes of each are those of the pending command."""
    kind.request(pending)
    for value in (0, 1, 2, 3, 4, 0xFF, 0x100 + pending, 0xFFFF_FFFF):
        if value != pending and (write is write_word or value < 0x100):
            write(running, value)
    assert (kind.events, kind.pending) == ([], pending)


@WRITES
def test_a_guest_shuts_down_on_its_own(running, kind, write):
    write(running, SHUTDOWN)
    assert kind.events == [(GUEST_SHUTDOWN, SHUTDOWN)]
    assert kind.pending == NONE
    running.elapse(ACK_NS - 1)
    assert kind.events == [(GUEST_SHUTDOWN, SHUTDOWN)]
    running.elapse(1)
    assert kind.events == [(GUEST_SHUTDOWN, SHUTDOWN), (TIMED_OUT, SHUTDOWN)]


def test_a_guest_without_a_driver_says_nothing(device, kind):
    write_word(device, SHUTDOWN)
    device.elapse(ACK_NS)
    assert kind.events == []


def test_a_guest_cannot_say_anything_else_on_its_own(running, kind):
    for value in (0, 2, 3, 4, 0x101, 0xFFFF_FFFF):
        write_word(running, value)
    running.elapse(SHUTDOWN_NS)
    assert (kind.events, kind.pending) == ([], NONE)


@pytest.mark.parametrize("command", [SHUTDOWN, REBOOT])
def test_a_shutdown_has_time_to_be_acknowledged_and_then_to_happen(running, kind, command):
    kind.request(command)
    running.elapse(ACK_NS - 1)
    write_word(running, command)
    running.elapse(SHUTDOWN_NS - 1)
    assert kind.events == [(ACKNOWLEDGED, command)]
    running.elapse(1)
    assert kind.events == [(ACKNOWLEDGED, command), (TIMED_OUT, command)]
    assert running.pci.bar_read(0, CONFIG, 4) == NONE
    running.elapse(SHUTDOWN_NS)
    assert len(kind.events) == 2


def test_a_shutdown_that_nobody_acknowledges_times_out(running, kind):
    kind.request(SHUTDOWN)
    running.elapse(ACK_NS)
    assert kind.events == [(TIMED_OUT, SHUTDOWN)]
    assert kind.request(SHUTDOWN) == VmmciAnswer.RAISED


def test_another_command_takes_the_place_of_the_pending_one(running, kind):
    kind.request(SHUTDOWN)
    write_word(running, SHUTDOWN)
    assert kind.request(REBOOT) == VmmciAnswer.RAISED
    write_word(running, SHUTDOWN)
    assert kind.events == [(ACKNOWLEDGED, SHUTDOWN)]
    running.elapse(ACK_NS - 1)
    write_word(running, REBOOT)
    running.elapse(SHUTDOWN_NS)
    assert kind.events[1:] == [(ACKNOWLEDGED, REBOOT), (TIMED_OUT, REBOOT)]


def test_syncrtc_has_no_timer_and_leaves_a_running_one(running, kind):
    kind.request(SYNCRTC)
    running.elapse(2 * SHUTDOWN_NS)
    assert (kind.events, kind.pending) == ([], SYNCRTC)
    kind.request(REBOOT)
    assert kind.request(SYNCRTC) == VmmciAnswer.RAISED
    write_word(running, SYNCRTC)
    running.elapse(ACK_NS)
    assert kind.events == [(ACKNOWLEDGED, SYNCRTC), (TIMED_OUT, REBOOT)]


def test_a_reset_ends_what_is_pending(running, kind):
    kind.request(REBOOT)
    write_word(running, REBOOT)
    running.pci.bar_write(0, 18, 1, 0)
    assert running.dma.sent == ["assert", "deassert"]
    assert running.pci.bar_read(0, 18, 1) == 0
    assert running.pci.bar_read(0, CONFIG, 4) == NONE
    running.elapse(SHUTDOWN_NS)
    assert kind.events == [(ACKNOWLEDGED, REBOOT)]


def test_from_the_reset_on_there_is_no_driver(running, kind):
    running.pci.bar_write(0, 18, 1, 0)
    assert kind.request(SHUTDOWN) == VmmciAnswer.NOT_RUNNING


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_the_last_three_bytes_alone_say_nothing(running, kind, offset):
    running.pci.bar_write(0, CONFIG + offset, 1, SHUTDOWN)
    kind.request(SYNCRTC)
    for value in (NONE, SYNCRTC):
        running.pci.bar_write(0, CONFIG + offset, 1, value)
    assert (kind.events, kind.pending) == ([], SYNCRTC)


def test_a_reset_drops_the_rest_of_a_read(running, clock):
    clock.set(0x1_0000_0001)
    running.pci.bar_read(0, CONFIG + 4, 4)
    clock.set(0x2_0000_0002)
    running.pci.bar_write(0, 18, 1, 0)
    assert running.pci.bar_read(0, CONFIG + 8, 4) == 2


def test_a_clock_that_runs_tells_nobody(running, clock):
    clock.advance(5_000_000)
    assert (running.dma.sent, running.isr) == ([], 0)
