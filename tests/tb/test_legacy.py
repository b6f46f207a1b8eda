"""The legacy driver on the reference device, access by access."""

import random

import pytest
from cocotbext.virtio.backends.model import ModelHost, run
from cocotbext.virtio.devices.blk import VirtioBlk
from cocotbext.virtio.devices.rng import VirtioRng
from cocotbext.virtio.driver import probe
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.host import BusError
from cocotbext.virtio.legacy import Legacy
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng
from virtio_spec.blk import BlkConfig
from virtio_spec.virtio_pci import Interface

QUEUE_SIZE = 16
HABITS = ["natural", "bytes"]
WITH_LEGACY = [Interface.TRANSITIONAL, Interface.LEGACY]


class Watched(ModelHost):
    """Remembers the accesses to BAR 0: offset, size and, of writes, the value."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen = []

    async def bar_read(self, bar, offset, size):
        if bar == 0:
            self.seen.append((offset, size))
        return await super().bar_read(bar, offset, size)

    async def bar_write(self, bar, offset, size, value):
        if bar == 0:
            self.seen.append((offset, size, value))
        await super().bar_write(bar, offset, size, value)

    def taken(self):
        seen, self.seen = self.seen, []
        return seen


def blk_host(disk=None, *, interface=Interface.LEGACY, queues=1, **options):
    kind = Blk(disk or Disk(16), queues=queues)
    return Watched(kind, interface=interface, queue_size=QUEUE_SIZE, **options)


@pytest.mark.parametrize("interface", WITH_LEGACY)
@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("interrupts", [True, False])
def test_all_steps_lead_to_a_working_disk(interface, habit, interrupts):
    async def go():
        disk = Disk(0x123)
        host = blk_host(disk, interface=interface)
        device = await probe(host, transport="legacy", habit=habit)
        await device.start(interrupts=interrupts)
        blk = VirtioBlk(device)
        assert await blk.capacity() == 0x123
        await blk.write(3, b"ab" * 512)
        assert await blk.read(3, 2) == b"ab" * 512
        assert disk.unflushed == {3, 4}
        await blk.flush()
        assert disk.unflushed == frozenset()
        await host.sleep(2_000)
        assert [host.interrupts(vector) for vector in range(2)] == [0, 3 if interrupts else 0]
        assert host.intx() is not interrupts
        assert host.memory.violations == []

    run(go())


def test_a_transitional_driver_prefers_the_modern_interface():
    async def go():
        found = {}
        for interface in Interface:
            host = ModelHost(Rng(EntropySource(1)), interface=interface)
            device = await probe(host)
            await device.start()
            assert len(await VirtioRng(device).read(4)) == 4
            found[interface] = device.transport.interface, device.device_type
        assert found == {
            Interface.MODERN: ("modern", 4),
            Interface.TRANSITIONAL: ("modern", 4),
            Interface.LEGACY: ("legacy", 4),
        }

    run(go())


def test_a_driver_finds_no_interface_that_is_not_there():
    host = ModelHost(Rng(EntropySource(1)))
    with pytest.raises(DriverError, match="^1af4:1044 revision 1 has no legacy interface$"):
        run(probe(host, transport="legacy"))
    host = blk_host()
    with pytest.raises(DriverError, match="^there is no COMMON capability$"):
        run(probe(host, transport="modern"))
    host.device.pci.config.put(8, 1, 1)
    with pytest.raises(DriverError, match="^1af4:1001 revision 1 has no legacy interface$"):
        run(probe(host))


def test_a_wrong_choice_is_one_sentence():
    host = blk_host()
    with pytest.raises(ValueError, match="^transport is modern, legacy or None, not 'mmio'$"):
        run(probe(host, transport="mmio"))
    with pytest.raises(ValueError, match="^habit is one of natural, bytes, not 'words'$"):
        run(probe(host, habit="words"))


def test_a_device_without_a_capability_list_is_found():
    async def go():
        host = blk_host()
        host.device.pci.config.put(6, 2, 0)
        device = await probe(host)
        assert device.transport.capabilities == []
        await device.start()
        assert device.vector_of == {}
        assert len(await VirtioBlk(device).read(1, 1)) == 512

    run(go())


def test_every_step_is_one_access_of_its_width():
    async def go():
        host = blk_host()
        legacy = await Legacy.find(host)
        steps = [
            (legacy.offered_features(), [(0, 4)]),
            (legacy.accept_features(0x3_0000_0200), [(4, 4, 0x200)]),
            (legacy.accepted_features(), [(4, 4)]),
            (legacy.queue_size(0), [(14, 2, 0), (12, 2)]),
            (legacy.notify(5), [(16, 2, 5)]),
            (legacy.add_status(1), [(18, 1), (18, 1, 1), (18, 1)]),
            (legacy.isr(), [(19, 1)]),
            (legacy.reset(), [(18, 1, 0), (18, 1)]),
            (legacy.diagnostics(), [(0xF0, 4), (0xF4, 4), (0xF8, 4), (0xFC, 4)]),
        ]
        for step, expected in steps:
            await step
            assert host.taken() == expected

    run(go())


@pytest.mark.parametrize(
    ("habit", "sizes"),
    [("natural", [(0, 4), (4, 4), (16, 2), (18, 1)]), ("bytes", [(n, 1) for n in [*range(8), 16, 17, 18]])],
)
@pytest.mark.parametrize("msix", [False, True])
def test_fields_are_read_by_habit_and_behind_the_vectors(habit, sizes, msix):
    async def go():
        host = blk_host(Disk(0x1234))
        legacy = await Legacy.find(host, habit=habit)
        await legacy.msix_control(enable=msix)
        host.taken()
        found = await legacy.config(BlkConfig, "capacity", "cylinders", "heads")
        start = 24 if msix else 20
        assert host.taken() == [(start + offset, size) for offset, size in sizes]
        assert found.capacity == 0x1234
        assert await legacy.config_read(0, 2) == 0x1234
        assert host.taken() == [(start, 2)]

    run(go())


@pytest.mark.parametrize(
    ("habit", "expected"),
    [
        ("natural", [(20, 4, 0x55667788), (24, 4, 0x11223344)]),
        ("bytes", [(20 + n, 1, 0x88 - 0x11 * n) for n in range(8)]),
    ],
)
def test_fields_are_written_by_habit(habit, expected):
    async def go():
        host = blk_host()
        legacy = await Legacy.find(host, habit=habit)
        await legacy.set_config(BlkConfig, "capacity", 0x1122334455667788)
        await legacy.config_write(16, 2, 0xABCD)
        assert host.taken() == [*expected, (36, 2, 0xABCD)]

    run(go())


def test_vectors_are_there_while_msix_is_on():
    async def go():
        host = blk_host(vectors=2)
        legacy = await Legacy.find(host)
        for step in (legacy.config_vector(), legacy.set_queue_vector(0, 1)):
            with pytest.raises(DriverError, match="^there are no vector registers while MSI-X is off$"):
                await step
        await legacy.msix_control(enable=True)
        assert await legacy.config_vector() == 0xFFFF
        assert await legacy.set_config_vector(1) == 1
        assert (await legacy.set_queue_vector(0, 0), await legacy.queue_vector(0)) == (0, 0)
        assert await legacy.set_queue_vector(0, 2) == 0xFFFF
        assert await legacy.config_vector() == 1

    run(go())


def test_queues_have_the_size_and_the_place_that_the_interface_wants():
    async def go():
        host = blk_host(queues=3)
        device = await probe(host, rng=random.Random(1))
        assert await device.transport.num_queues() == 3
        await device.start(queue_size=4, queues={2: 2, 0: None})
        assert {number: queue.size for number, queue in device.queues.items()} == {2: 16, 0: 16}
        for number, queue in device.queues.items():
            await device.transport.select(number)
            assert await device.transport.header("queue_address") == queue.desc.address // 4096
            assert (queue.avail.address, queue.used.address) == (
                queue.desc.address + 256,
                queue.desc.address + 4096,
            )
        assert device.vector_of == {2: 3, 0: 1}
        assert (await VirtioBlk(device).get_id(queue=2)) == b"virtio-models"

    run(go())


@pytest.mark.parametrize("desc", [0x10_0800, 1 << 44])
def test_a_page_that_has_no_number_is_refused(desc):
    legacy = run(Legacy.find(blk_host()))
    with pytest.raises(ValueError, match=f"^a legacy queue is on a page below 2.*, not at {desc:#x}$"):
        run(legacy.set_up_queue(0, 16, desc, desc + 256, desc + 4096))


def test_rings_elsewhere_are_refused():
    legacy = run(Legacy.find(blk_host()))
    with pytest.raises(ValueError, match="^the rings of a legacy queue of 16 follow its descriptors"):
        run(legacy.set_up_queue(0, 16, 0x10_0000, 0x10_0100, 0x10_2000))


def test_a_reset_that_is_not_over_at_once_is_noticed():
    class Hangs(ReferenceDevice):
        def _finish_reset(self):
            self._resetting, self.status = 1, self.status | 1

    device = run(probe(blk_host(device=Hangs)))
    with pytest.raises(DriverError, match="^the reset is not over when the status is read: 0x1$"):
        run(device.reset())


def test_function_level_reset_restores_the_io_bar():
    async def go():
        host = blk_host()
        device = await probe(host)
        await device.start()
        await device.function_level_reset()
        assert await device.transport.status() == 0
        await device.start()
        assert await VirtioBlk(device).capacity() == 16

    run(go())


def test_io_requests_that_nobody_takes_end_with_an_error_both_ways():
    async def go():
        host = blk_host()
        device = await probe(host)
        await device.transport.set_command(io=False)
        with pytest.raises(BusError, match="read of .* ended with UR"):
            await device.transport.status()
        with pytest.raises(BusError, match="write of .* ended with UR"):
            await device.transport.set_status(1)
        await device.transport.set_command(memory=False)
        assert await device.transport.add_status(1) == 1

    run(go())
