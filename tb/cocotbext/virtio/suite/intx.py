"""INTx: a level that follows the ISR status, told in messages.  [virtio 1.4 §4.1.4.5; PCIe base 5.0 §6.1]"""

from virtio_spec.pci import Command, ConfigOffset, Status
from virtio_spec.virtio_pci import IsrStatus
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand

from ..driver import VirtioDevice
from ..function import FLR_NS
from .helpers import QUIET_NS, exercise, reconfigure, same, small
from .registry import EVERY_DEVICE, Bench, case

__all__: list[str] = []

QUEUE, CONFIG = IsrStatus.QUEUE, IsrStatus.CONFIG


async def started(bench: Bench) -> VirtioDevice:
    """A device with MSI-X off whose INTx is not asserted."""
    device = await bench.start(interrupts=False)
    await bench.host.until(lambda: not bench.host.intx(), timeout_ns=QUIET_NS)
    same(await status_bit(bench), False, "Interrupt Status")
    return device


async def status_bit(bench: Bench) -> bool:
    """Interrupt Status of the Status register."""
    return bool(await bench.host.config_read(ConfigOffset.STATUS, 2) & Status.INTERRUPT)


async def raise_it(bench: Bench, device: VirtioDevice) -> int:
    """Let the device have a reason to interrupt; the ISR bit that stands for it. Takes a moment."""
    if bench.device == "vmmci":
        assert bench.vmmci is not None
        same(await bench.vmmci.request(VmmciCommand.SYNCRTC), VmmciAnswer.RAISED, "the answer to SYNCRTC")
        await bench.host.sleep(QUIET_NS)
        return CONFIG
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    return QUEUE


async def asserted(bench: Bench, expected: bool, what: str) -> None:
    """``AssertionError`` unless INTx comes to be, or not to be, asserted, and stays so."""
    await bench.host.sleep(QUIET_NS)
    same(bench.host.intx(), expected, f"INTx {what}")


@case(
    devices=EVERY_DEVICE,
    proves=("PCI-ISR-DEV-02", "PCI-ISR-DEV-03", "PCI-ISR-DEV-04", "PCI-ISR-DEV-05", "PCI-ISR-DEV-P01"),
    traps=(2, 3, 4),
)
async def reading_the_isr_deasserts_it(bench: Bench) -> None:
    device, before = await started(bench), bench.host.intx_asserted()
    for count in (1, 2):
        bit = await raise_it(bench, device)
        same(bench.host.intx(), True, "INTx")
        same(await status_bit(bench), True, "Interrupt Status")
        same(await device.transport.isr(), bit, "ISR")
        same(await status_bit(bench), False, "Interrupt Status after a read of the ISR")
        await asserted(bench, False, "after a read of the ISR")
        same(bench.host.intx_asserted(), before + count, "Assert_INTA messages")
        await device.reset()
        device = await started(bench)


@case(proves=("PCI-ISR-DEV-02", "PCI-ISR-DEV-03", "SPLIT-DEV-16"), traps=(1, 2))
async def data_and_isr_are_there_when_it_arrives(bench: Bench) -> None:
    device = await started(bench)
    readable, writable = small(bench)
    for count in (1, 2, 3):
        request = await device.submit(bench.queue, readable, writable)
        await device.wait_intx()
        same(device.queues[bench.queue].returned, count, "chains that have come back when INTx arrives")
        device.collect(bench.queue)
        same(request.used, sum(writable), "used length when INTx arrives")
        same(await device.transport.isr(), QUEUE, "ISR when INTx has arrived")
        await device.wait_intx(False)


@case(proves=("PCI-ISR-DEV-05", "PCI-ISR-DEV-P01"), traps=(3,))
async def no_event_is_lost_between_two_reads_of_the_isr(bench: Bench) -> None:
    """The handler of a driver: read the ISR, take what is there, until all has come back."""
    device = await started(bench)
    requests = []
    for _ in range(6):
        requests.append(await device.submit(bench.queue, *small(bench)))
        await bench.host.sleep(bench.rng.randrange(1, 600))
        if bench.rng.random() < 0.5:
            await device.transport.isr()
            device.collect(bench.queue)
    while not all(request.done for request in requests):
        await device.wait_intx()
        await device.transport.isr()
        device.collect(bench.queue)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.intx(), await status_bit(bench), "INTx at the end, compared with Interrupt Status")


@case(proves=("PCI-ISR-DEV-03", "PCI-ISR-DEV-P01"))
async def several_events_are_one_level(bench: Bench) -> None:
    device, before = await started(bench), bench.host.intx_asserted()
    for _ in range(3):
        await raise_it(bench, device)
    same((bench.host.intx(), bench.host.intx_asserted()), (True, before + 1), "INTx and its assertions")
    same(await device.transport.isr(), QUEUE, "ISR")
    await asserted(bench, False, "after one read of the ISR")


@case(proves=("SPLIT-DEV-10", "SPLIT-DEV-11"), traps=(12,))
async def a_driver_that_wants_no_interrupt_gets_no_intx(bench: Bench) -> None:
    device = await started(bench)
    device.queues[bench.queue].want_interrupts(False)
    await raise_it(bench, device)
    same(bench.host.intx(), False, "INTx while NO_INTERRUPT is set")
    device.queues[bench.queue].want_interrupts(True)
    await raise_it(bench, device)
    same(bench.host.intx(), True, "INTx")


@case(devices=EVERY_DEVICE, proves=("PCI-ISR-DEV-04",), traps=(4,))
async def interrupt_disable_silences_it_but_not_the_status_bit(bench: Bench) -> None:
    device = await started(bench)
    transport = device.transport
    await transport.set_command(intx=False)
    try:
        before = bench.host.intx_asserted()
        await raise_it(bench, device)
        same(await status_bit(bench), True, "Interrupt Status while disabled")
        same(bench.host.intx_asserted(), before, "Assert_INTA messages while disabled")
        for enabled in (True, False, True):
            await transport.set_command(intx=enabled)
            await asserted(bench, enabled, f"with Interrupt Disable {int(not enabled)}")
            same(await status_bit(bench), True, "Interrupt Status")
        await transport.isr()
        await asserted(bench, False, "after a read of the ISR")
    finally:
        await transport.set_command()


@case(proves=("PCI-ISR-DEV-04", "PCI-ID-DEV-01"), traps=(4,))
async def msix_takes_its_place(bench: Bench) -> None:
    device = await started(bench)
    await raise_it(bench, device)
    same(bench.host.intx(), True, "INTx")
    await device.transport.msix_control(enable=True)
    await asserted(bench, False, "once MSI-X is enabled")
    same(await status_bit(bench), False, "Interrupt Status with MSI-X")
    device, before = await bench.start(), bench.host.intx_asserted()
    await raise_it(bench, device)
    same(bench.host.intx_asserted(), before, "Assert_INTA messages with MSI-X")
    same(await status_bit(bench), False, "Interrupt Status with MSI-X and a used buffer")


@case(devices=("blk", "net"), proves=("PCI-ISR-DEV-02", "PCI-ISR-DEV-04", "NOTIF-DEV-P01"), traps=(2, 4))
async def a_configuration_change_asserts_it(bench: Bench) -> None:
    """The ISR bit is set with MSI-X, too, and asserts INTx as soon as MSI-X is off."""
    device, size = await started(bench), bench.disk.capacity
    try:
        reconfigure(bench)
        await device.wait_intx()
        same(await device.transport.isr(), CONFIG, "ISR")
        await device.wait_intx(False)
        await device.transport.msix_control(enable=True)
        reconfigure(bench)
        await asserted(bench, False, "with MSI-X")
        await device.transport.msix_control(enable=False)
        await asserted(bench, True, "once MSI-X is off again")
        same(await device.transport.isr(), CONFIG, "ISR")
        await device.wait_intx(False)
    finally:
        bench.disk.resize(size)


@case(devices=("blk", "net"), proves=("PCI-ISR-DEV-05",), traps=(3,))
async def both_reasons_show_in_one_read(bench: Bench) -> None:
    device, size = await started(bench), bench.disk.capacity
    try:
        await raise_it(bench, device)
        reconfigure(bench)
        await asserted(bench, True, "after a used buffer and a change")
        same(await device.transport.isr(), QUEUE | CONFIG, "ISR")
        await asserted(bench, False, "after one read of the ISR")
    finally:
        bench.disk.resize(size)


@case(devices=EVERY_DEVICE, proves=("RESET-DEV-02", "PCI-ISR-DEV-P01"), traps=(6,))
async def a_reset_deasserts_it(bench: Bench) -> None:
    device = await started(bench)
    await raise_it(bench, device)
    same(bench.host.intx(), True, "INTx")
    await device.reset()
    await asserted(bench, False, "after the reset")
    same((await device.transport.isr(), await status_bit(bench)), (0, False), "ISR and Interrupt Status")
    await exercise(bench, await started(bench))


@case(devices=EVERY_DEVICE, proves=("RESET-DEV-02", "PCI-ID-DEV-01"), traps=(6,))
async def a_function_level_reset_deasserts_it(bench: Bench) -> None:
    device = await started(bench)
    await raise_it(bench, device)
    same(bench.host.intx(), True, "INTx")
    await device.function_level_reset()
    await bench.host.sleep(FLR_NS)
    same((bench.host.intx(), await status_bit(bench)), (False, False), "INTx and Interrupt Status")
    await exercise(bench, await started(bench))


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01",))
async def asleep_it_is_not_asserted(bench: Bench) -> None:
    device = await started(bench)
    bit = await raise_it(bench, device)
    await device.transport.set_power_state(3)
    try:
        await asserted(bench, False, "in D3hot")
    finally:
        await device.transport.set_power_state(0)
    await asserted(bench, True, "back in D0")
    same(await device.transport.isr(), bit, "ISR")


@case(devices=("blk", "net", "vmmci"), proves=("PCI-ID-DEV-01",))
async def it_does_not_need_a_bus_master(bench: Bench) -> None:
    device, size = await started(bench), bench.disk.capacity
    await device.transport.set_command(bus_master=False)
    try:
        same(await bench.host.config_read(ConfigOffset.COMMAND, 2) & Command.BUS_MASTER, 0, "Bus Master")
        if bench.device == "vmmci":
            await raise_it(bench, device)
        else:
            reconfigure(bench)
        await asserted(bench, True, "of a function that is no bus master")
        same(await device.transport.isr(), CONFIG, "ISR")
        await asserted(bench, False, "after a read of the ISR")
    finally:
        await device.transport.set_command()
        if bench.disk.capacity != size:
            bench.disk.resize(size)


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01",))
async def the_interrupt_pin_is_inta(bench: Bench) -> None:
    same(await bench.host.config_read(ConfigOffset.INTERRUPT_PIN, 1), 1, "Interrupt Pin")
    await bench.host.config_write(ConfigOffset.INTERRUPT_LINE, 1, 0x0B)
    same(await bench.host.config_read(ConfigOffset.INTERRUPT_LINE, 2), 0x010B, "Interrupt Line and Pin")
    await bench.host.config_write(ConfigOffset.INTERRUPT_LINE, 1, 0)
