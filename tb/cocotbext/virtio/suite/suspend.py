"""The status bit SUSPEND.  [virtio 1.4 §2.1, §3.4]"""

from virtio_spec.virtio import DeviceStatus

from .helpers import exercise, modern, prepared, same
from .registry import MODERN, Bench, case

__all__: list[str] = []


@case(proves=("SUSP-DEV-01",), transports=MODERN)
async def a_device_that_is_not_initialised_is_not_suspended(bench: Bench) -> None:
    """In every step up to DRIVER_OK, which goes on as if nothing had been written."""
    transport = modern(await bench.probe())
    steps = DeviceStatus(0)
    for step in (DeviceStatus(0), DeviceStatus.ACKNOWLEDGE, DeviceStatus.DRIVER):
        steps |= step
        await transport.set_status(steps)
        await transport.set_status(steps | DeviceStatus.SUSPEND)
        same(await transport.status(), steps, "the status after SUSPEND")
    device = await prepared(bench)
    before = await device.transport.status()
    await device.transport.set_status(before | DeviceStatus.SUSPEND)
    same(await device.transport.status(), before, "the status after SUSPEND")
    device = await bench.start()
    await exercise(bench, device)
