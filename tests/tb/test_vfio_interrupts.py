"""Interrupts of a card, with a kernel that only remembers what it was told."""

import os

import pytest
from cocotbext.virtio.backends.vfio_abi import Interrupt
from cocotbext.virtio.backends.vfio_interrupts import Intx, VectorTable
from virtio_spec.pci import MsixMessageControl

ENABLE, MASK = MsixMessageControl.ENABLE, MsixMessageControl.FUNCTION_MASK
DATA, CONTROL = 8, 12


class Kernel:
    def __init__(self):
        self.files = {Interrupt.INTX: [-1], Interrupt.MSIX: []}
        self.unmasked = 0

    def signal(self, index, files, *, start=0):
        listed = self.files[index]
        listed += [-1] * (start + len(files) - len(listed))
        listed[start : start + len(files)] = files

    def silence(self, index):
        self.files[index] = []

    def unmask(self, index):
        assert index == Interrupt.INTX
        self.unmasked += 1

    def arrives(self, index, entry=0, times=1):
        os.eventfd_write(self.files[index][entry], times)


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def table(kernel):
    heard = []
    made = VectorTable(kernel, 3, heard.append)
    made.heard = heard
    yield made
    made.close()


def program(table, entry, vector, *, masked=False):
    table.write(16 * entry + DATA, vector)
    table.write(16 * entry + CONTROL, int(masked))


def test_entries_are_masked_until_they_are_programmed(kernel, table):
    assert [table.read(16 * entry + CONTROL) for entry in range(3)] == [1, 1, 1]
    program(table, 1, 5)
    assert kernel.files[Interrupt.MSIX] == []
    table.control(ENABLE)
    assert [file >= 0 for file in kernel.files[Interrupt.MSIX]] == [False, True, False]
    assert table.bits == ENABLE


def test_messages_count_by_what_their_entry_said_when_they_came(kernel, table):
    program(table, 0, 7)
    table.control(ENABLE)
    kernel.arrives(Interrupt.MSIX, 0, times=2)
    table.write(DATA, 9)
    kernel.arrives(Interrupt.MSIX, 0)
    assert (table.count(7), table.count(9), table.count(0)) == (2, 1, 0)
    assert table.heard == [7, 9]


def test_a_masked_entry_is_masked_in_the_device_alone(kernel, table):
    program(table, 0, 0)
    program(table, 1, 1)
    table.control(ENABLE)
    table.write(CONTROL, 1)
    assert [file >= 0 for file in kernel.files[Interrupt.MSIX]] == [False, True, False]
    table.write(CONTROL, 0)
    assert [file >= 0 for file in kernel.files[Interrupt.MSIX]] == [True, True, False]


def test_the_function_mask_masks_every_entry(kernel, table):
    program(table, 0, 0)
    table.control(ENABLE | MASK)
    assert set(kernel.files[Interrupt.MSIX]) == {-1} and table.bits == ENABLE | MASK
    table.control(ENABLE)
    assert kernel.files[Interrupt.MSIX][0] >= 0


def test_without_enable_there_are_no_interrupts(kernel, table):
    program(table, 0, 0)
    table.control(ENABLE)
    table.control(0)
    assert kernel.files[Interrupt.MSIX] == [] and table.bits == 0


@pytest.fixture
def intx(kernel):
    status = []
    made = Intx(kernel, lambda: bool(status), lambda level: None)
    made.status = status
    made.enable(True)
    yield made
    made.close()


def test_intx_is_asserted_from_its_event_until_the_status_is_clear(kernel, intx):
    assert not intx.level()
    intx.status.append(1)
    kernel.arrives(Interrupt.INTX)
    assert intx.level() and intx.level()
    assert (intx.assertions, kernel.unmasked) == (1, 0)
    intx.status.clear()
    assert not intx.level()
    assert (intx.assertions, kernel.unmasked) == (1, 1)


def test_while_msix_is_on_there_is_no_intx(kernel, intx):
    intx.status.append(1)
    kernel.arrives(Interrupt.INTX)
    assert intx.level()
    intx.enable(False)
    assert kernel.files[Interrupt.INTX] == [] and not intx.level()
