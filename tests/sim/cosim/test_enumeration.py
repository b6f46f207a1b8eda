"""What QEMU 11.1 asks for when it attaches the device, in its order."""

import pytest
from helpers.vfio_user_client import Failed, GuestMemory
from virtio_models.device import ReferenceDevice
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng
from virtio_sim.cosim.model import ModelFunction
from virtio_spec.virtio_pci import Interface

from .conftest import Recorded


def test_a_client_attaches_as_qemu_does(serve):
    with serve() as running, running.connect() as client, GuestMemory(1 << 20) as memory:
        major, minor, capabilities = client.version()
        assert (major, minor) == (0, 0)
        assert capabilities == {
            "max_msg_fds": 16,
            "max_data_xfer_size": 1 << 20,
            "max_dma_maps": 256,
            "pgsizes": 4096,
            "write_multiple": True,
        }
        client.dma_map(0, 0xA0000, memory.fd)
        client.dma_map(0xC0000, 0x20000, flags=1)
        assert client.info() == (3, 9, 5)
        regions = [client.region_info(index) for index in range(9)]
        assert regions == [(0, 0), (3, 4096), (0, 0), (0, 0), (3, 16384), (0, 0), (0, 0), (3, 4096), (0, 0)]
        assert [client.irq_info(index) for index in range(5)] == [(7, 1), (0, 0), (3, 2), (0, 0), (0, 0)]
        config = client.read_bytes(7, 0, 4096)
        assert config[:4] == b"\xf4\x1a\x44\x10"
        assert config[0x06] & 0x10 and config[0x34]
        client.reset()
        for bar in range(6):
            client.write(7, 0x10 + 4 * bar, 4, 0xFFFF_FFFF)
        assert client.read(7, 0x14, 4) == 0xFFFF_F000
        assert client.read(7, 0x20, 8) == 0xFFFF_FFFF_FFFF_C00C
        client.write(7, 4, 2, 0)


def test_a_legacy_device_has_its_registers_in_io_space(serve):
    def make(dma):
        return ReferenceDevice(Rng(EntropySource(0)), dma, interface=Interface.TRANSITIONAL)

    with serve(ModelFunction(make)) as running, running.connect() as client:
        client.version()
        assert client.region_info(0) == (3, 256)
        assert client.read(7, 0x10, 4) == 1
        client.write(7, 4, 2, 5)
        assert client.read(0, 12, 2) == 64  # queue size
        client.write(0, 18, 1, 1)
        assert client.read(0, 18, 1) == 1
        assert client.read_bytes(0, 12, 8)[:2] == b"\x40\0"  # cut into accesses of one dword


def test_without_msi_x_there_is_only_intx(serve):
    with serve(Recorded(vectors=0)) as running, running.connect() as client:
        client.version()
        assert client.irq_info(2) == (0, 0)
        assert client.irq_info(0) == (7, 1)
        with pytest.raises(Failed, match="EINVAL"):
            client.set_irqs(2, 0x24, 0, 1)


def test_configuration_space_takes_any_size_and_alignment(serve):
    with serve() as running, running.connect() as client:
        client.version()
        config = client.read_bytes(7, 0, 256)
        for offset, size in [(0, 3), (1, 2), (2, 4), (0x33, 9), (255, 1), (0, 0)]:
            assert client.read_bytes(7, offset, size) == config[offset : offset + size]
        assert client.read_bytes(7, 250, 20) == config[250:] + bytes(14)


def test_accesses_are_naturally_aligned_and_as_wide_as_they_can_be(serve):
    seen = []

    class Spy(Recorded):
        def bar_read(self, bar, offset, size):
            seen.append((offset, size))
            return super().bar_read(bar, offset, size)

    with serve(Spy()) as running, running.connect() as client:
        client.version()
        client.read_bytes(4, 3, 14)
    assert seen == [(3, 1), (4, 4), (8, 8), (16, 1)]


def test_write_multi_is_a_row_of_writes(attached):
    with attached() as (_, client, _guest):
        client.write_multi([(4, 22, 2, 0), (4, 24, 2, 4), (4, 20, 1, 1)])
        assert client.read(4, 24, 2) == 4 and client.read(4, 20, 1) == 1
        client.write_multi([(4, 24, 2, 8)], posted=True)
        assert client.read(4, 24, 2) == 8


def test_a_posted_write_comes_before_the_read_behind_it(attached):
    with attached() as (_, client, _guest):
        for value in (1, 3, 1, 3):
            client.write(4, 20, 1, 0, posted=True)
            while client.read(4, 20, 1):
                pass
            client.write(4, 20, 1, value, posted=True)
            assert client.read(4, 20, 1) == value


def test_reset_is_one_of_the_whole_function(attached):
    with attached() as (running, client, guest):
        guest.start()
        running.function.calls.clear()
        client.reset()
        assert running.function.calls == ["reset"]
        assert client.read(7, 4, 2) == 0
        assert client.read(7, 0x14, 4) == 0
        guest.enumerate()
        assert guest.status() == 0
        guest.start()  # memory is still mapped
        guest.ask(16)
        while not guest.used():
            guest.status()
