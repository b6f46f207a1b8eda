"""What a RAM disk refuses; its behaviour is tested behind a block device."""

import pytest
from amaranth_virtio.devices.ram_disk import RamDisk


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sectors": 0}, "sectors must be at least 1, not 0"),
        ({"sectors": 1, "init": bytes(513)}, "init has 513 bytes, more than 1 sectors"),
    ],
)
def test_an_impossible_disk_is_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        RamDisk(width=64, **arguments)
    assert str(caught.value) == message
