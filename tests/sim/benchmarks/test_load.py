"""Work that does not run dry, on the reference device."""

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.variant import RingVariant
from virtio_sim.benchmarks.load import aligned_rings
from virtio_sim.benchmarks.workloads import NetQueue, Workload, begin, blk, net
from virtio_sim.config import Configuration
from virtio_spec.blk import BlkReqType

DEPTH, PAGE = 5, 4096
VARIANTS = [
    RingVariant(event_idx=True),
    RingVariant(event_idx=True, indirect=True),
    RingVariant(event_idx=True, packed=True),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_device_always_has_as_many_chains_as_the_depth_says(variant):
    async def work():
        bench = model_bench("blk", seed=1, variant=variant)
        device = await bench.probe()
        aligned_rings(device)
        await device.start(queue_size=32, variant=variant)
        load = blk(BlkReqType.IN, size=2 * PAGE, depth=DEPTH)(device)
        await load.start()
        assert device.queues[0].in_flight == DEPTH
        for completed in (3, 40):
            await load.until(completed)
            assert load.completed >= completed
            assert device.queues[0].in_flight == DEPTH
        assert all(area.address % PAGE == 0 for area in device.queues[0].areas)

    run(work())


def test_kinds_of_requests_come_in_turns_and_are_for_sectors_of_their_own():
    async def work():
        device = await model_bench("blk", seed=1).start()
        load = blk(BlkReqType.IN, BlkReqType.OUT, size=1024, depth=2)(device)
        reads, writes = load.chains[0][::2], load.chains[0][1::2]
        assert [len(chain.readable) for chain in reads] == [1, 1]
        assert [len(chain.readable) for chain in writes] == [2, 2]
        headers = [device.host.memory.read(*chain.readable[0]) for chain in load.chains[0]]
        assert [int.from_bytes(header[:4], "little") for header in headers] == [0, 1, 0, 1]
        assert [int.from_bytes(header[8:], "little") for header in headers] == [0, 2, 4, 6]

    run(work())


def test_the_queues_of_several_pairs_send_at_once():
    async def work():
        bench = model_bench("net", seed=1, queues=9)
        make = net(NetQueue.TRANSMIT, depth=DEPTH, queues=3)
        work = Workload(Configuration("net", queues=4), make, queue_size=16)
        load, traffic = await begin(bench, work)
        await load.start()
        await load.until(40)
        device = load.device
        assert [device.queues[number].in_flight for number in range(9)] == [0, DEPTH] * 3 + [0, 0, 0]
        assert traffic.packets == []  # nobody has put any there

    run(work())
