"""What has to hold of a device after a reset, and after its driver has broken a rule, whichever it was."""

from virtio_spec import layout
from virtio_spec.pci import Capability, ConfigOffset
from virtio_spec.virtio import DeviceStatus

from ..driver import VirtioDevice
from .helpers import QUIET_NS, exercise, legacy, modern, same
from .registry import Bench

__all__ = ["as_new", "survived", "works"]

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


async def as_new(bench: Bench, device: VirtioDevice) -> None:
    """``AssertionError`` unless nothing that a driver has set up is left after a reset of the function."""
    transport = device.transport
    same(await transport.status(), 0, "device status")
    if bench.transport == "modern":
        same(await modern(device).common("queue_enable"), 0, "queue_enable")
    else:
        same(await legacy(device).header("queue_address"), 0, "queue_address")
    if not transport.has(Capability.MSIX):
        return
    control = await bench.host.config_read(transport.capability(Capability.MSIX) + 2, 2)
    same(control & 0xC000, 0, "MSI-X enable and function mask")
    for vector in range(await transport.vectors()):
        same(await bench.host.bar_read(layout.MSIX_BAR, 16 * vector + 12, 4) & 1, 1, f"mask bit {vector}")


async def works(bench: Bench) -> None:
    """Start the device and have it do real work, of which it tells."""
    device = await bench.start()
    vector = device.vector_of.get(1 if bench.device == "net" else 0)
    before = bench.host.interrupts(vector) if vector is not None else 0
    await exercise(bench, device)
    if vector is not None:
        await device.wait_interrupt(vector, before)
