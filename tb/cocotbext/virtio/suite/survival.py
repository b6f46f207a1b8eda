"""What has to hold of a device whose driver has broken a rule, whichever it was."""

from virtio_spec.pci import ConfigOffset
from virtio_spec.virtio import DeviceStatus

from .helpers import QUIET_NS, exercise, same
from .registry import Bench

__all__ = ["survived", "works"]

STATUS = (1 << 8) - 1 & ~0x30  # the bits that have a meaning


async def survived(bench: Bench) -> None:
    """``AssertionError`` unless the device is alive, is quiet after a reset, and works again then.

    Alive is a function that answers configuration requests, and registers that read as something that makes
    sense. After the reset nothing is exposed any more, so that every access of memory is found. Then there
    is work of which the content is looked at, and whose interrupt must not be lost.  [§2.1.2, §2.4.1]
    """
    host = bench.host
    identity = await host.config_read(ConfigOffset.VENDOR_ID, 4)
    if identity in (0, 0xFFFF_FFFF):
        raise AssertionError(f"vendor and device id are {identity:#x}")
    device = await bench.probe()
    status = await device.transport.status()
    same(status & ~(STATUS | DeviceStatus.SUSPEND), 0, "bits of the status without a meaning")
    await device.reset()
    host.memory.forget()
    bench.disk.heal()
    bench.entropy.heal()
    bench.network.heal()
    await host.sleep(QUIET_NS)
    await works(bench)


async def works(bench: Bench) -> None:
    """Start the device and have it do real work, of which it tells."""
    device = await bench.start()
    vector = device.vector_of.get(1 if bench.device == "net" else 0)
    before = bench.host.interrupts(vector) if vector is not None else 0
    await exercise(bench, device)
    if vector is not None:
        await device.wait_interrupt(vector, before)
