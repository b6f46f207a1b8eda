"""INTx of the reference device.  [PCIe base 5.0 §6.1.3, virtio 1.4 §4.1.4.5]"""

import pytest
from virtio_models.blk import Blk
from virtio_models.disk import Disk
from virtio_spec.virtio_pci import Interface

INTERRUPT = 0x0008
DISABLE = 0x0400


@pytest.fixture
def device(make):
    device = make(Blk(Disk(16)), interface=Interface.LEGACY)
    device.pci.bar_write(0, 18, 1, 7)
    return device


def change(device):
    device.kind.disk.resize(device.kind.disk.capacity - 1)


def interrupt_status(device):
    return bool(device.pci.config_read(6, 2) & INTERRUPT)


def test_it_is_a_level_not_an_event(device):
    """Trap 2: PCI-ISR-DEV-02. Trap 3: PCI-ISR-DEV-05."""
    change(device)
    change(device)
    assert device.dma.sent == ["assert"]
    device.pci.bar_read(0, 18, 1)
    assert device.dma.sent == ["assert"]
    device.pci.bar_read(0, 16, 4)
    device.pci.bar_read(0, 19, 1)
    assert device.dma.sent == ["assert", "deassert"]


def test_the_isr_is_set_before_the_message(device):
    seen = []
    device.dma.intx = lambda asserted: seen.append((asserted, device.isr, interrupt_status(device)))
    change(device)
    device.pci.bar_read(0, 19, 1)
    assert seen == [(True, 2, True), (False, 0, False)]


def test_interrupt_disable_holds_messages_back_and_not_the_status(device):
    """Trap 4: PCI-ISR-DEV-04."""
    device.pci.config_write(4, 2, 7 | DISABLE)
    change(device)
    assert (device.dma.sent, interrupt_status(device)) == ([], True)
    device.pci.config_write(4, 2, 7)
    device.pci.config_write(4, 2, 7 | DISABLE)
    assert device.dma.sent == ["assert", "deassert"]
    assert interrupt_status(device)


def test_bus_mastering_does_not_matter(device):
    device.pci.config_write(4, 2, 3)
    change(device)
    assert device.dma.sent == ["assert"]


def test_msix_and_intx_are_never_both(device):
    """A change while MSI-X is in use sets the ISR without INTx, which comes when MSI-X goes."""
    control = device.pci.config.msix + 2
    device.pci.config_write(control, 2, 0x8000)
    device.pci.bar_write(1, 8, 4, 0x77)
    device.pci.bar_write(1, 12, 4, 0)
    device.pci.bar_write(0, 20, 2, 0)
    change(device)
    assert (device.dma.sent, interrupt_status(device)) == ([0x77], False)
    device.pci.config_write(control, 2, 0)
    assert (device.dma.sent, interrupt_status(device)) == ([0x77, "assert"], True)
    device.pci.config_write(control, 2, 0x8000)
    assert device.dma.sent == [0x77, "assert", "deassert"]


def test_asleep_it_is_silent(device):
    power = device.pci.config.pm + 4
    change(device)
    device.pci.config_write(power, 2, 3)
    assert device.dma.sent == ["assert", "deassert"]
    device.pci.config_write(power, 2, 0)
    assert device.dma.sent == ["assert", "deassert", "assert"]


def test_a_virtio_reset_deasserts_at_once(device):
    change(device)
    device.pci.bar_write(0, 18, 1, 0)
    assert (device.dma.sent, interrupt_status(device)) == (["assert", "deassert"], False)
    device.pci.bar_read(0, 18, 1)
    assert device.dma.sent == ["assert", "deassert"]


def test_a_function_level_reset_deasserts(device):
    change(device)
    device.pci.config_write(device.pci.config.pcie + 9, 1, 0x80)
    assert device.dma.sent == ["assert", "deassert"]


def test_a_modern_device_has_it_too(make):
    device = make(Blk(Disk(16)))
    device.pci.bar_write(4, 8, 4, 1)
    device.pci.bar_write(4, 12, 4, 1)
    device.pci.bar_write(4, 20, 1, 11)
    device.pci.bar_write(4, 20, 1, 15)
    change(device)
    assert device.dma.sent == ["assert"]
    device.pci.bar_read(4, 0x1000, 1)
    assert device.dma.sent == ["assert", "deassert"]
