"""Interrupts: vectors, masks, the pending bits."""

from virtio_spec import layout, wire
from virtio_spec.pci import MsixEntry
from virtio_spec.virtio import NO_VECTOR

from ..driver import VirtioDevice
from .helpers import QUIET_NS, exercise, reconfigure, same, small
from .registry import Bench, case

__all__: list[str] = []


async def use_one_buffer(bench: Bench, device: VirtioDevice) -> None:
    """One request, and time for its interrupt."""
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)


@case(proves=("MSIX-DEV-01", "MSIX-DEV-02"))
async def the_table_has_a_vector_for_everything(bench: Bench) -> None:
    transport = (await bench.probe()).transport
    vectors = await transport.vectors()
    if not 2 <= vectors <= 0x800:
        raise AssertionError(f"there are {vectors} vectors")


@case(
    proves=(*(f"MSIX-DEV-{n:02}" for n in (4, 5, 6, 8, 9)), "PCI-LEG-DEV-P01"),
    traps=(18,),
    breaks=("MSIX-DRV-04",),
)
async def vectors_read_back_and_those_that_do_not_exist_as_none(bench: Bench) -> None:
    transport = (await bench.probe()).transport
    await transport.msix_control(enable=True)  # on the legacy interface there are no registers without
    vectors = await transport.vectors()
    for vector in (*range(vectors), vectors, 0x800, NO_VECTOR - 1, 0, NO_VECTOR):
        expected = vector if vector < vectors else NO_VECTOR
        found = await transport.set_config_vector(vector), await transport.config_vector()
        same(found, (expected, expected), f"configuration vector after writing {vector:#x}")
        found = (
            await transport.set_queue_vector(bench.queue, vector),
            await transport.queue_vector(bench.queue),
        )
        same(found, (expected, expected), f"vector of queue {bench.queue} after writing {vector:#x}")


@case(proves=("MSIX-DEV-07",), traps=(19,))
async def a_reset_takes_all_vectors_away(bench: Bench) -> None:
    device = await bench.start()
    await device.reset()
    same(await device.transport.config_vector(), NO_VECTOR, "configuration vector")
    same(await device.transport.queue_vector(bench.queue), NO_VECTOR, f"vector of queue {bench.queue}")


@case(proves=("MSIX-DEV-P01", "SPLIT-DEV-11"), traps=(12,))
async def a_used_buffer_is_told_on_the_queues_vector(bench: Bench) -> None:
    device = await bench.start()
    before = [bench.host.interrupts(vector) for vector in (0, bench.vector)]
    request = await device.submit(bench.queue, *small(bench))
    await device.wait_interrupt(bench.vector, before[1])
    await device.wait(request)
    await bench.host.sleep(QUIET_NS)
    same(
        [bench.host.interrupts(vector) for vector in (0, bench.vector)],
        [before[0], before[1] + 1],
        "messages",
    )


@case(proves=("MSIX-DEV-04", "MSIX-DEV-P01", "PCI-CCN-DEV-01"))
async def a_queue_can_use_the_configuration_vector(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.set_queue_vector(bench.queue, 0)
    before = [bench.host.interrupts(vector) for vector in (0, bench.vector)]
    await use_one_buffer(bench, device)
    same(
        [bench.host.interrupts(vector) for vector in (0, bench.vector)],
        [before[0] + 1, before[1]],
        "messages",
    )


@case(proves=("PCI-UBN-DEV-01", "MSIX-DEV-05"), traps=(20,))
async def a_queue_without_a_vector_is_silent(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.set_queue_vector(bench.queue, NO_VECTOR)
    before = [bench.host.interrupts(vector) for vector in (0, bench.vector)]
    await use_one_buffer(bench, device)
    same([bench.host.interrupts(vector) for vector in (0, bench.vector)], before, "messages")


@case(devices=("blk", "net"), proves=("PCI-CCN-DEV-02", "PCI-ISR-DEV-02"), traps=(20,))
async def a_configuration_change_without_a_vector_is_silent(bench: Bench) -> None:
    device = await bench.start()
    same(await device.transport.set_config_vector(NO_VECTOR), NO_VECTOR, "configuration vector")
    before = [bench.host.interrupts(vector) for vector in (0, bench.vector)]
    size = bench.disk.capacity
    try:
        reconfigure(bench)
        await bench.host.sleep(QUIET_NS)
        same([bench.host.interrupts(vector) for vector in (0, bench.vector)], before, "messages")
        same(await device.transport.isr() & 2, 2, "configuration bit of the ISR")
    finally:
        bench.disk.resize(size)


@case(proves=("PCI-ID-DEV-01",))
async def a_masked_vector_is_pending_until_it_is_unmasked(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.mask_vector(bench.vector, True)
    same(await device.transport.pending(bench.vector), False, "pending bit before")
    before = bench.host.interrupts(bench.vector)
    await use_one_buffer(bench, device)
    same(bench.host.interrupts(bench.vector), before, "messages while masked")
    same(await device.transport.pending(bench.vector), True, "pending bit")
    same(await device.transport.pending(0), False, "pending bit of the other vector")
    await device.transport.mask_vector(bench.vector, False)
    await device.wait_interrupt(bench.vector, before)
    same(await device.transport.pending(bench.vector), False, "pending bit after the message")


@case(proves=("PCI-ID-DEV-01",))
async def the_function_mask_masks_every_vector(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.msix_control(enable=True, mask=True)
    before = bench.host.interrupts(bench.vector)
    await use_one_buffer(bench, device)
    same(bench.host.interrupts(bench.vector), before, "messages while masked")
    same(await device.transport.pending(bench.vector), True, "pending bit")
    await device.transport.msix_control(enable=True)
    await device.wait_interrupt(bench.vector, before)
    same(await device.transport.pending(bench.vector), False, "pending bit after the message")


@case(proves=("PCI-ID-DEV-01",))
async def what_comes_while_masked_is_one_message(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.mask_vector(bench.vector, True)
    before = bench.host.interrupts(bench.vector)
    for _ in range(3):
        await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    await device.transport.mask_vector(bench.vector, False)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.interrupts(bench.vector), before + 1, "messages")


@case(proves=("RESET-DEV-02",), traps=(6,))
async def a_reset_forgets_what_was_pending(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.mask_vector(bench.vector, True)
    before = bench.host.interrupts(bench.vector)
    await use_one_buffer(bench, device)
    await device.reset()
    await device.transport.mask_vector(bench.vector, False)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.interrupts(bench.vector), before, "messages after the reset")


@case(proves=("PCI-ID-DEV-01",))
async def without_msix_there_are_no_messages(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.msix_control(enable=False)
    before = [bench.host.interrupts(vector) for vector in (0, bench.vector)]
    await use_one_buffer(bench, device)
    same([bench.host.interrupts(vector) for vector in (0, bench.vector)], before, "messages")
    await device.transport.msix_control(enable=True)
    await exercise(bench, device)


@case(proves=("PCI-ID-DEV-01",))
async def the_table_entry_says_what_is_sent(bench: Bench) -> None:
    device = await bench.start()
    address, data = bench.host.msix_message(5)
    raw = wire.pack(MsixEntry, address_low=address & 0xFFFF_FFFF, address_high=address >> 32, data=data)
    words = [int.from_bytes(raw[n : n + 4], "little") for n in (0, 4, 8)]
    entry = layout.MSIX_TABLE_OFFSET + 16 * bench.vector
    for n, word in enumerate(words):
        await bench.host.bar_write(layout.MSIX_BAR, entry + 4 * n, 4, word)
    found = [await bench.host.bar_read(layout.MSIX_BAR, entry + 4 * n, 4) for n in range(3)]
    same(found, words, "the table entry")
    before = [bench.host.interrupts(vector) for vector in (bench.vector, 5)]
    await use_one_buffer(bench, device)
    same(
        [bench.host.interrupts(vector) for vector in (bench.vector, 5)],
        [before[0], before[1] + 1],
        "messages",
    )
