"""A request of an entropy device from end to end, with each kind of interrupt."""

import os
import select
import struct
from contextlib import contextmanager

import pytest
from helpers.vfio_user_client import Failed
from helpers.vfio_user_guest import CONFIG, DATA

from .conftest import Recorded

NONE, BOOL, EVENTFD = 1, 2, 4
MASK, UNMASK, TRIGGER = 8, 16, 32
INTX, MSIX = 0, 2


@contextmanager
def eventfd():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def signalled(fd, seconds=10.0):
    """How often the eventfd was signalled, waiting for the first."""
    if not select.select([fd], [], [], seconds)[0]:
        return 0
    return os.eventfd_read(fd)


def quiet(fd, guest):
    """Nothing is signalled; a register is read so that the server has gone round."""
    guest.status()
    guest.status()
    return not select.select([fd], [], [], 0)[0]


def test_a_request_ends_with_the_eventfd_of_its_vector(attached):
    with attached() as (running, client, guest), eventfd() as config, eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 2, fds=(config, queue))
        guest.start(vector=1)
        guest.ask(100)
        assert signalled(queue) == 1
        assert guest.used() == 1
        history = bytes(running.function.entropy.history)
        assert guest.memory.read(DATA, 100) in history
        assert guest.memory.read(DATA + 100, 4) == bytes(4)
        assert quiet(config, guest)


def test_the_clients_table_is_not_the_devices(attached):
    with attached() as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(queue,))
        client.write(1, 0, 8, 0xFEE0_0000)  # nothing of it gets into the device's
        client.write(1, 12, 4, 1)
        guest.start(vector=0)
        guest.ask(8)
        assert signalled(queue) == 1


def test_a_vector_without_an_eventfd_is_pending_in_the_device(attached):
    with attached() as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1)  # as QEMU enables MSI-X without a vector
        guest.start(vector=1)
        guest.ask(8)
        while not guest.used():
            guest.status()
        while client.read(1, 0x800, 8) != 2:
            pass
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 1, 1, fds=(queue,))
        assert signalled(queue) == 1
        assert client.read(1, 0x800, 8) == 0


@pytest.mark.parametrize("kind, data", [(NONE, b""), (BOOL, b"\1")])
def test_a_masked_vector_is_sent_when_it_is_unmasked(attached, kind, data):
    with attached() as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(queue,))
        guest.start(vector=0)
        client.set_irqs(MSIX, kind | MASK, 0, 1, data=data)
        guest.ask(8)
        while client.read(1, 0x800, 4) != 1:
            pass
        assert quiet(queue, guest)
        client.set_irqs(MSIX, BOOL | UNMASK, 0, 1, data=b"\0")  # not this one
        assert quiet(queue, guest)
        client.set_irqs(MSIX, kind | UNMASK, 0, 1, data=data)
        assert signalled(queue) == 1


def test_a_new_eventfd_is_not_masked(attached):
    with attached() as (_, client, guest), eventfd() as first, eventfd() as second:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(first,))
        client.set_irqs(MSIX, NONE | MASK, 0, 1)
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(second,))
        guest.start(vector=0)
        guest.ask(8)
        assert signalled(second) == 1 and signalled(first, 0) == 0


class Spy(Recorded):
    """Remembers what was written to the MSI-X table, and may send a message on the way."""

    def __init__(self):
        self.writes, self.late = [], []
        super().__init__()

    def bar_write(self, bar, offset, size, value):
        if bar == 1:
            self.writes.append((offset, size, value))
        super().bar_write(bar, offset, size, value)

    def interrupts(self):
        late = self.late if self.writes and self.writes[-1] == (12, 4, 1) else []
        self.late = [] if late else self.late
        return [*super().interrupts(), *late]


def test_the_devices_table_is_filled_in_once_and_masked_before_anything_changes(attached):
    spy = Spy()
    with attached(spy) as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        spy.writes.clear()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 1, 1, fds=(queue,))
        assert spy.writes == [(28, 4, 0)]
        client.set_irqs(MSIX, NONE | MASK, 1, 1)
        client.set_irqs(MSIX, NONE | UNMASK, 1, 1)
        client.set_irqs(MSIX, NONE | UNMASK, 1, 1)
        assert spy.writes[1:] == [(28, 4, 1), (28, 4, 0)]
        spy.writes.clear()
        guest.enable_msix()
        assert spy.writes[5:] == [
            (28, 4, 1),
            (16, 4, 0xFEE0_0010),
            (20, 4, 0xFFFF_FFFF),
            (24, 4, 1),
            (28, 4, 0),
        ]


def test_the_table_is_left_alone_while_memory_space_is_off(attached):
    spy = Spy()
    with attached(spy) as (_, client, guest), eventfd() as queue:
        client.write(CONFIG, 4, 2, 4)
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(queue,))
        assert spy.writes == []
        client.write(CONFIG, 4, 2, 6)
        assert len(spy.writes) == 10
        guest.start(vector=0)
        guest.ask(8)
        assert signalled(queue) == 1


def test_a_message_that_was_under_way_when_its_eventfd_is_taken_back_arrives(attached):
    spy = Spy()
    with attached(spy) as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(queue,))
        spy.late = [(0xFFFF_FFFF_FEE0_0000, 0)]
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1)
        assert signalled(queue) == 1


def test_interrupts_survive_a_function_level_reset(attached):
    """The device's table is gone with it, and QEMU, whose own is not, says nothing new."""
    with attached() as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 1, fds=(queue,))
        pcie = guest.capability(0x10)
        client.write(CONFIG, pcie + 8, 2, 0x8000)
        assert client.read(CONFIG, 4, 2) == 0
        guest.enumerate()
        guest.enable_msix()
        guest.start(vector=0)
        guest.ask(8)
        assert signalled(queue) == 1


def test_all_vectors_are_disabled_at_once(attached):
    with attached() as (_, client, guest), eventfd() as queue:
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 2, fds=(queue, queue))
        client.set_irqs(MSIX, NONE | TRIGGER, 0, 0)
        guest.start(vector=1)
        guest.ask(8)
        while not guest.used():
            guest.status()
        assert quiet(queue, guest)


def test_a_client_may_trigger_an_interrupt_itself(attached):
    with attached() as (_, client, _guest), eventfd() as first, eventfd() as second:
        client.set_irqs(MSIX, NONE | TRIGGER, 0, 2)  # nowhere to go yet
        client.set_irqs(INTX, NONE | TRIGGER, 0, 1)
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 2, fds=(first, second))
        client.set_irqs(MSIX, BOOL | TRIGGER, 0, 2, data=b"\0\1")
        assert signalled(second) == 1 and signalled(first, 0) == 0
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(first,))
        client.set_irqs(INTX, NONE | TRIGGER, 0, 1)
        assert signalled(first) == 1


def test_with_the_devices_own_table_messages_are_written_to_the_client(attached):
    with attached(table="device") as (_, client, guest):
        assert client.irq_info(MSIX) == (0, 0)
        whole = client.read_bytes(CONFIG, 0, 4096)
        assert whole[0x34] == 0 and not whole[6] & 0x10
        assert client.read(CONFIG, 0x34, 1) != 0 and client.read(CONFIG, 6, 2) & 0x10
        guest.enable_msix()
        client.write(1, 16, 8, 0xFEE0_3000)
        client.write(1, 24, 4, 0x4041)
        client.write(1, 28, 4, 0)
        assert client.read(1, 16, 4) == 0xFEE0_3000
        guest.start(vector=1)
        guest.ask(8)
        message = client.wait_posted()
        assert message.command == 12 and message.flags == 0x10
        assert message.payload == struct.pack("<QQI", 0xFEE0_3000, 4, 0x4041)
        assert guest.used() == 1


def test_a_client_that_refuses_a_message_is_heard(attached):
    with attached(table="device") as (running, client, guest):
        guest.enable_msix()
        client.write(1, 0, 8, 0xFEE0_3000)
        client.write(1, 12, 4, 0)
        guest.start(vector=0)
        guest.ask(8)
        message = client.wait_posted()
        client.raw(struct.pack("<HHIII", message.id, 12, 16, 0x21, 14))
        running.wait_for("DMA_WRITE was refused by the client, errno 14")
        guest.status()


# -- INTx ------------------------------------------------------------------------------------------


def test_intx_is_signalled_once_and_again_at_an_unmask_while_asserted(attached):
    with attached() as (_, client, guest), eventfd() as intx:
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(intx,))
        guest.start()
        guest.ask(8)
        assert signalled(intx) == 1
        guest.ask(8)
        while guest.used() != 2:
            guest.status()
        assert quiet(intx, guest)  # it has masked itself
        client.set_irqs(INTX, NONE | UNMASK, 0, 1)
        assert signalled(intx) == 1  # nobody has read the ISR status
        assert client.read(4, 0x1000, 1) == 1
        client.set_irqs(INTX, NONE | UNMASK, 0, 1)
        assert quiet(intx, guest)
        guest.ask(8)
        assert signalled(intx) == 1


def test_a_masked_intx_waits(attached):
    with attached() as (_, client, guest), eventfd() as intx:
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(intx,))
        client.set_irqs(INTX, BOOL | MASK, 0, 1, data=b"\1")
        guest.start()
        guest.ask(8)
        while guest.used() != 1:
            guest.status()
        assert quiet(intx, guest)
        client.set_irqs(INTX, BOOL | UNMASK, 0, 1, data=b"\1")
        assert signalled(intx) == 1


def test_an_intx_that_is_asserted_already_is_signalled_to_a_new_eventfd(attached):
    with attached() as (_, client, guest), eventfd() as first, eventfd() as second:
        guest.start()
        guest.ask(8)
        while guest.used() != 1:
            guest.status()
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(first,))
        assert signalled(first) == 1
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(second,))
        assert signalled(second) == 1
        client.set_irqs(INTX, NONE | TRIGGER, 0, 0)
        guest.ask(8)
        while guest.used() != 2:
            guest.status()
        assert quiet(first, guest) and quiet(second, guest)


def test_an_eventfd_may_unmask_intx(attached):
    """As KVM does at the end of an interrupt."""
    with attached() as (_, client, guest), eventfd() as intx, eventfd() as resample:
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(intx,))
        for _ in range(5):  # each in place of the one before
            client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1, fds=(resample,))
        guest.start()
        guest.ask(8)
        assert signalled(intx) == 1
        os.eventfd_write(resample, 1)
        assert signalled(intx) == 1
        client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1)
        os.eventfd_write(resample, 1)
        assert quiet(intx, guest)


# -- bad requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index, flags, start, count, fds, data, sentence",
    [
        (5, NONE | TRIGGER, 0, 0, 0, b"", "there is no interrupt type 5"),
        (INTX, TRIGGER, 0, 1, 0, b"", "flags 0x20 are not one action and one kind of data"),
        (INTX, NONE, 0, 1, 0, b"", "flags 0x1 are not one action and one kind of data"),
        (INTX, NONE | MASK | UNMASK, 0, 1, 0, b"", "flags 0x19 are not one action and one kind of data"),
        (INTX, NONE | TRIGGER | 64, 0, 1, 0, b"", "flags 0x61 are not one action and one kind of data"),
        (INTX, NONE | TRIGGER, 0, 2, 0, b"", "interrupts 0 to 1 of type 0 are not 1"),
        (MSIX, EVENTFD | TRIGGER, 1, 2, 2, b"", "interrupts 1 to 2 of type 2 are not 2"),
        (MSIX, NONE | TRIGGER, 0xFFFF_FFFF, 1, 0, b"", "interrupts 4294967295 to 4294967295 of type 2"),
        (MSIX, EVENTFD | TRIGGER, 0, 2, 1, b"", "1 file descriptors came for 2 interrupts"),
        (MSIX, EVENTFD | TRIGGER, 0, 1, 2, b"", "2 file descriptors came for 1 interrupts"),
        (MSIX, NONE | TRIGGER, 0, 1, 1, b"", "1 file descriptors came for 1 interrupts"),
        (MSIX, BOOL | MASK, 0, 2, 0, b"\1", "1 bytes of data came for 2 interrupts"),
        (MSIX, NONE | MASK, 0, 1, 0, b"\1", "1 bytes of data came for 1 interrupts"),
        (INTX, EVENTFD | MASK, 0, 1, 1, b"", "the eventfd of a mask is not signalled here"),
        (MSIX, EVENTFD | UNMASK, 0, 1, 1, b"", "the eventfd of a mask is not signalled here"),
    ],
)
def test_a_wrong_set_irqs_is_refused_with_a_sentence(
    attached, index, flags, start, count, fds, data, sentence
):
    with attached() as (running, client, guest), eventfd() as fd:
        with pytest.raises(Failed):
            client.set_irqs(index, flags, start, count, fds=(fd,) * fds, data=data)
        assert f"DEVICE_SET_IRQS is refused: {sentence}" in running.wait_for("DEVICE_SET_IRQS")
        assert guest.status() == 0


def test_a_descriptor_that_is_no_eventfd_harms_nobody(attached):
    reading, writing = os.pipe()
    with attached() as (_, client, guest):
        os.set_blocking(writing, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))  # full: one more byte would wait
        os.set_blocking(writing, True)
        client.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=(writing,))
        client.set_irqs(INTX, EVENTFD | UNMASK, 0, 1, fds=(reading,))
        os.close(reading)
        os.close(writing)
        guest.start()
        guest.ask(8)
        while guest.used() != 1:
            guest.status()
        client.set_irqs(INTX, NONE | UNMASK, 0, 1)
        guest.status()
