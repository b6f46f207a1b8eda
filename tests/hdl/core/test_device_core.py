"""What the device core refuses to be built as; its behaviour is tested behind the transports."""

import pytest
from amaranth_virtio.core import DeviceCore
from amaranth_virtio.devices.interface import DeviceTable
from virtio_spec.virtio import DeviceType


def table(queues: int = 1, **fields) -> DeviceTable:
    return DeviceTable(
        **{"device_type": DeviceType.BLOCK, "class_code": 0, "features": 0, "queues": queues, **fields}
    )


@pytest.mark.parametrize(
    "table, arguments, message",
    [
        (table(queues=0), {}, "queues must be 1 to 256, not 0"),
        (table(queues=257), {}, "queues must be 1 to 256, not 257"),
        (table(), {"queue_size": 0}, "queue_size must be a power of two up to 32768, not 0"),
        (table(), {"queue_size": 48}, "queue_size must be a power of two up to 32768, not 48"),
        (table(), {"queue_size": 65536}, "queue_size must be a power of two up to 32768, not 65536"),
        (table(), {"vectors": -1}, "vectors must be 0 to 2048, not -1"),
        (table(), {"vectors": 2049}, "vectors must be 0 to 2048, not 2049"),
        # FEAT-DEV-01
        (table(features=2, requires={1: (0,)}), {}, "feature 1 is offered without its prerequisite 0"),
    ],
)
def test_an_impossible_core_is_refused(table, arguments, message):
    with pytest.raises(ValueError) as caught:
        DeviceCore(**{"table": table, "queue_size": 256, "vectors": 2, **arguments})
    assert str(caught.value) == message


def test_version_1_is_offered_beside_the_features_of_the_table():
    assert DeviceCore(table=table(features=0x200), queue_size=256, vectors=2).offered == 0x1_0000_0200
