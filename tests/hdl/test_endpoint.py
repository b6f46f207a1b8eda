"""The endpoint as it is put together; what it does is tested under cocotb."""

import pytest
from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.endpoint import Endpoint


@pytest.mark.parametrize(("queues", "vectors"), [(1, 2), (3, 4), (127, 128), (128, 128), (256, 128)])
def test_there_is_a_vector_per_queue_as_far_as_they_fit(queues, vectors):
    """MSIX-DEV-01: at most 128 vectors lie below the pending bits; queues beyond share them."""
    module = Endpoint(device=BlkDevice(width=64, queues=queues)).elaborate(None)
    assert module.submodules.function.vectors == vectors
    assert module.submodules.core.vectors == vectors
    assert module.submodules.transport.queues == module.submodules.engine.queues == queues
