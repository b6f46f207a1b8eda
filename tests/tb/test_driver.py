"""Transport and driver against devices that are not as they should be."""

import pytest
from cocotbext.virtio.backends.model import ModelHost, run
from cocotbext.virtio.devices.blk import BlkError, VirtioBlk, cut
from cocotbext.virtio.devices.rng import VirtioRng
from cocotbext.virtio.driver import probe
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.host import BusError, HostTimeout
from cocotbext.virtio.modern import Modern
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng


def blk_host(disk=None, **options):
    return ModelHost(Blk(disk or Disk(16)), queue_size=16, **options)


def rng_host(**options):
    return ModelHost(Rng(EntropySource(1)), queue_size=16, **options)


def patch(host, offset, value, size=1):
    host.device.pci.config.put(offset, size, value)


def test_all_steps_lead_to_a_working_disk():
    async def go():
        disk = Disk(16)
        device = await probe(blk_host(disk))
        await device.start()
        blk = VirtioBlk(device)
        await blk.write(3, b"ab" * 512)
        assert await blk.read(3, 2) == b"ab" * 512
        assert disk.unflushed == {3, 4}
        await blk.flush()
        assert disk.unflushed == frozenset()
        assert (await blk.get_id(), await blk.capacity()) == (b"virtio-models", 16)

    run(go())


def test_all_steps_lead_to_working_entropy():
    async def go():
        source = EntropySource(1)
        device = await probe(ModelHost(Rng(source), queue_size=16))
        await device.start()
        data = await VirtioRng(device).read(50)
        assert data in source.history

    run(go())


def test_requests_go_to_the_queues_they_are_meant_for():
    async def go():
        disk = Disk(bytes(range(256)) * 32)
        host = ModelHost(Blk(disk, queues=3), queue_size=16, seed=4)
        device = await probe(host)
        await device.start(queues={2: 8, 0: None})
        assert {number: queue.size for number, queue in device.queues.items()} == {2: 8, 0: 16}
        assert device.vector_of == {2: 3, 0: 1}
        blk = VirtioBlk(device)
        requests = [
            blk.prepare(0, sector, room=512, queue=queue) for sector, queue in ((5, 2), (6, 0), (7, 2))
        ]
        for queue in (0, 2):
            await device.kick(queue)
        await blk.wait(*requests)
        assert [request.result() for request in requests] == [bytes(range(256)) * 2] * 3
        assert (device.queues[0].used_index, device.queues[2].used_index) == (1, 2)
        await host.sleep(2000)
        assert [host.interrupts(vector) for vector in range(4)] == [0, 1, 0, 2]
        await blk.write(1, bytes(512), queue=2)
        await blk.flush(queue=0)
        assert await blk.read(1, 1, queue=2) == bytes(512)
        assert await blk.get_id(queue=2) == b"virtio-models"
        assert (device.queues[0].used_index, device.queues[2].used_index) == (2, 5)

    run(go())


def test_an_error_of_the_disk_has_its_status():
    async def go():
        device = await probe(blk_host())
        await device.start()
        with pytest.raises(BlkError, match="status 1"):
            await VirtioBlk(device).read(16, 1)

    run(go())


@pytest.mark.parametrize(
    ("total", "points", "pieces"),
    [
        (10, (), [10]),
        (10, (3,), [3, 7]),
        (10, (7, 3, 3), [3, 4, 3]),
        (10, (0, 10, 11), [10]),
        (0, (0,), []),
    ],
)
def test_bytes_are_cut_where_it_is_said(total, points, pieces):
    assert cut(total, points) == pieces


def test_a_function_that_is_not_virtio_is_refused():
    host = rng_host()
    patch(host, 0, 0x8086, 2)
    with pytest.raises(DriverError, match="8086:1044 is no virtio device"):
        run(probe(host))


def test_a_capability_list_that_runs_in_circles_is_noticed():
    host = rng_host()
    patch(host, 0x41, 0x40)
    with pytest.raises(DriverError, match="the capability list comes back to 0x40"):
        run(probe(host))


def test_a_missing_structure_is_noticed():
    host = rng_host()
    transport = run(Modern.find(host))
    (isr,) = [found for found in transport.structures if found.kind == 3]
    patch(host, isr.position + 3, 7)
    with pytest.raises(DriverError, match="there is no ISR capability"):
        run(probe(host))


def test_a_structure_in_a_reserved_bar_is_passed_over():
    host = rng_host()
    transport = run(Modern.find(host))
    patch(host, transport.structures[0].position + 4, 6)
    with pytest.raises(DriverError, match="there is no COMMON capability"):
        run(probe(host))


def test_a_reset_that_never_ends_is_given_up():
    class Hangs(ReferenceDevice):
        def _finish_reset(self):
            self._resetting, self.status = 1, self.status | 1

    with pytest.raises(DriverError, match="the reset does not end"):
        run(run(probe(rng_host(device=Hangs))).reset())


def test_a_refusal_of_the_features_is_an_error():
    class Refuses(ReferenceDevice):
        def features_acceptable(self):
            return False

    with pytest.raises(DriverError, match="the device refuses features 0x1300000000"):
        run(run(probe(rng_host(device=Refuses))).start())


def test_a_vector_that_is_not_taken_is_an_error():
    class TakesNone(ReferenceDevice):
        def _valid_vector(self, value):
            return 0xFFFF

    with pytest.raises(DriverError, match="the device does not take vector 0 for configuration changes"):
        run(run(probe(rng_host(device=TakesNone))).start())


def test_a_torn_configuration_is_read_again():
    class Changes(ReferenceDevice):
        left = 2

        def read(self, offset, enable):
            value = super().read(offset, enable)
            if offset == 0x2000 and self.left:
                self.left -= 1
                self.kind.disk.resize(self.kind.disk.capacity + 1)
            return value

    async def go():
        blk = VirtioBlk(await probe(blk_host(device=Changes)))
        assert await blk.capacity() == 18

    run(go())


def test_a_queue_shares_the_only_vector():
    async def go():
        host = rng_host(vectors=1)
        device = await probe(host)
        await device.start()
        assert device.vector_of == {0: 0}
        await VirtioRng(device).submit(4)
        await device.wait_interrupt(0, 0)

    run(go())


def test_an_empty_answer_is_noticed():
    class Empty(Rng):
        def handle(self, readable, room):
            return b""

    async def go():
        device = await probe(ModelHost(Empty(EntropySource(1))))
        await device.start()
        await VirtioRng(device).read(4)

    with pytest.raises(DriverError, match="a buffer without any entropy"):
        run(go())


def test_a_status_that_is_not_covered_is_noticed():
    class Short(Blk):
        def handle(self, readable, room):
            return super().handle(readable, room)[:-1]

    async def go():
        device = await probe(ModelHost(Short(Disk(4))))
        await device.start()
        await VirtioBlk(device).read(0, 1)

    with pytest.raises(DriverError, match="used length 512 does not cover the status .* 513 writable bytes"):
        run(go())


def test_a_device_that_does_nothing_times_out():
    async def go():
        host = rng_host()
        device = await probe(host)
        await device.start()
        request = device.prepare(0, [], [4])
        start = host.now_ns()
        with pytest.raises(HostTimeout, match="nothing after 5000 ns"):
            await device.wait(request, timeout_ns=5000)
        assert host.now_ns() == start + 5000
        await device.kick()
        await device.wait(request)

    run(go())


def test_function_level_reset_restores_the_bars():
    async def go():
        host = rng_host(seed=3)
        device = await probe(host)
        await device.start()
        before = [await host.config_read(0x10 + 4 * n, 4) for n in range(6)]
        await device.transport.initiate_flr()
        with pytest.raises(BusError, match="UR"):
            await host.bar_read(4, 0, 4)
        await device.transport.flr_done()
        for n, value in enumerate(before):
            await host.config_write(0x10 + 4 * n, 4, value)
        await device.transport.set_command()
        await device.function_level_reset()
        assert [await host.config_read(0x10 + 4 * n, 4) for n in range(6)] == before
        await device.start()
        assert len(await VirtioRng(device).read(4)) == 4

    run(go())


def test_a_coroutine_that_waits_for_something_else_is_refused():
    class Forever:
        def __await__(self):
            yield

    async def go():
        await Forever()

    with pytest.raises(RuntimeError, match="waits for something else than a model"):
        run(go())
