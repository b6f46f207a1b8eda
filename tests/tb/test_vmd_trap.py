"""The trap that this project started from: a vmmci that is right for one guest and garbage for another.

vmd serves 32-bit reads at a register's offset, and nothing else. OpenBSD's driver, and virtio_pci_obsd on
Linux, read that way; Linux's own legacy driver reads byte by byte. Trap 24: PCI-LEG-DEV-05.
"""

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.devices.vmmci import VirtioVmmci
from cocotbext.virtio.legacy import HABITS
from virtio_models.device import ReferenceDevice
from virtio_models.vmd import Vmd

SOON, LATER = (1_500_000_000, 123_456), (0x1_2345_6789, 654_321)
TIMES = [SOON, LATER, (-1, 999_999), (0x7FFF_FFFF_FFFF_FFFF, 1)]


def time(device, habit, now):
    """What a guest with this habit makes of the time that a device shows."""

    async def go():
        bench = model_bench("vmmci", seed=1, device=device, habit=habit)
        guest = VirtioVmmci(await bench.start())
        bench.clock.set(*now)
        return await guest.time()

    return run(go())


@pytest.mark.parametrize("now", TIMES)
def test_the_byte_wise_driver_gets_garbage_from_vmd(now):
    seconds, microseconds = time(Vmd, "bytes", now)
    assert (seconds, microseconds) != now
    # Only the lowest byte of each field is at an offset that vmd knows.
    assert (seconds, microseconds) == (now[0] & 0xFF, now[1] & 0xFF)


def test_the_natural_driver_gets_the_time_from_vmd():
    assert time(Vmd, "natural", SOON) == SOON


@pytest.mark.parametrize("now", TIMES)
def test_the_natural_driver_gets_no_high_words_from_vmd(now):
    assert time(Vmd, "natural", now) == (now[0] & 0xFFFF_FFFF, now[1])


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("now", TIMES)
def test_every_driver_gets_the_time_from_ours(habit, now):
    assert time(ReferenceDevice, habit, now) == now


@pytest.mark.parametrize("tick", range(17))
def test_no_driver_gets_a_time_that_never_was_from_ours(tick):
    """The carry into the upper word of the seconds falls between any two of the byte-wise driver's reads."""
    before, after = (0xFFFF_FFFF, 999_999), (0x1_0000_0000, 0)

    async def go():
        bench = model_bench("vmmci", seed=1, habit="bytes")
        guest = VirtioVmmci(await bench.start())
        bench.clock.set(*before)
        host, reads = bench.host, 0
        read = host.bar_read

        async def counted(bar, offset, size):
            nonlocal reads
            if reads == tick:
                bench.clock.set(*after)
            reads += 1
            return await read(bar, offset, size)

        host.bar_read = counted
        found = await guest.time()
        assert reads == 16
        return found

    assert run(go()) == (before if tick else after)
