"""Indirect tables: at the end of chains or instead of them, and tables that a driver must not make."""

from collections.abc import Sequence
from functools import partial

from virtio_spec import wire
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType
from virtio_spec.layout import Cause
from virtio_spec.net import ACK_OK, CtrlClass, CtrlHeader, CtrlMac
from virtio_spec.packed import PackedDescriptor, PackedFlag
from virtio_spec.split import Descriptor, DescriptorFlag

from ..devices.net import VirtioNet
from ..ring import Ring
from ..split import SplitQueue
from ..variant import RingVariant
from .blk import anywhere, fill
from .broken import BROKEN, buffer, offer, table
from .broken import broken as broken_ring
from .helpers import exercise, in_order, same, small
from .registry import INDIRECT as TABLES
from .registry import PACKED, SPLIT, Bench, case

__all__: list[str] = []

NEXT, WRITE, INDIRECT = DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT
FAR_AWAY = 0x7F00_0000_0000_0000  # no memory there on any backend
broken = partial(broken_ring, kind=Ring)
split_tables = partial(case, variants=(TABLES, SPLIT))
packed_tables = partial(case, variants=(TABLES, PACKED))


async def request(bench: Bench, *, direct: int | None, pieces: int = 5) -> None:
    """One request of at least 4 buffers whose answer is checked, ``direct`` of them in the ring."""
    device = await bench.start()
    if bench.device == "rng":
        start = max(len(bench.entropy.history) - 4096, 0)
        made = await device.submit(
            bench.queue, [], [bench.rng.randrange(1, 20) for _ in range(pieces)], direct=direct
        )
        await device.wait(made)
        in_order(bench, made.written, start)
        return
    if bench.device == "net":
        address = b"\x02" + bench.rng.randbytes(5)
        header = wire.pack(CtrlHeader, ctrl_class=CtrlClass.MAC, command=CtrlMac.ADDR_SET)
        cuts = sorted(bench.rng.sample(range(1, 8), pieces - 2))
        octets = [(header + address)[a:b] for a, b in zip([0, *cuts], [*cuts, 8], strict=True)]
        made = await device.submit(bench.queue, octets, [1], direct=direct)
        await device.wait(made)
        same((made.used, made.content), (1, bytes([ACK_OK])), "the answer to a new address")
        same(await VirtioNet(device).address(), address, "the address")
        return
    sector = anywhere(bench)
    expected, header = fill(bench, sector), wire.pack(BlkReqHeader, type=BlkReqType.IN, sector=sector)
    cuts = sorted(bench.rng.sample(range(1, SECTOR_BYTES), pieces - 4))
    lengths = [b - a for a, b in zip([0, *cuts], [*cuts, SECTOR_BYTES], strict=True)]
    made = await device.submit(bench.queue, [header[:7], header[7:]], [*lengths, 1], direct=direct)
    await device.wait(made)
    same((made.used, made.content), (SECTOR_BYTES + 1, expected + b"\0"), f"sector {sector}")


@case(proves=("SPLIT-DEV-01", "PACKED-DEV-P06"), traps=(13,))
async def a_chain_may_stand_in_a_table(bench: Bench) -> None:
    for pieces in (5, 6, min(9, bench.queue_size)):
        await request(bench, direct=0, pieces=pieces)


@split_tables(proves=("SPLIT-DEV-08",), traps=(14,))
async def a_chain_may_end_in_a_table(bench: Bench) -> None:
    for direct in (1, 2, 3, 4):
        await request(bench, direct=direct)


@case(proves=("SPLIT-DEV-01", "PACKED-DEV-P06"))
async def a_chain_may_do_without_a_table(bench: Bench) -> None:
    await request(bench, direct=5)


@case(proves=("SPLIT-DEV-P02", "PACKED-DEV-P05"))
async def a_ring_may_be_full_of_tables(bench: Bench) -> None:
    device = await bench.start(queue_size=4)
    for _ in range(3):
        if bench.device == "rng":
            requests = [device.prepare(bench.queue, [], [3, 1, 4, 2], direct=0) for _ in range(4)]
        elif bench.device == "net":
            header, data = small(bench)[0][0][:2], small(bench)[0][0][2:]
            parts = [header[:1], header[1:], data]
            requests = [device.prepare(bench.queue, parts, [1], direct=0) for _ in range(4)]
        else:
            header = wire.pack(BlkReqHeader, type=BlkReqType.GET_ID)
            requests = [
                device.prepare(bench.queue, [header[:5], header[5:]], [20, 1], direct=0) for _ in range(4)
            ]
        await device.kick(bench.queue)
        await device.wait(*requests)
        same([made.used for made in requests], [len(made.content) for made in requests], "used lengths")


@case(proves=("SPLIT-DEV-01", "PACKED-DEV-P06"), devices=("rng",))
async def a_table_may_be_as_long_as_the_queue(bench: Bench) -> None:
    device = await bench.start(queue_size=None)
    size, start = device.queues[bench.queue].size, max(len(bench.entropy.history) - 4096, 0)
    for direct in (0,) if bench.variant.packed else (0, 1, size - 1):
        made = await device.submit(bench.queue, [], [1] * size, direct=direct)
        await device.wait(made)
        start = in_order(bench, made.written, start)


def one_request(bench: Bench, ring: Ring) -> list[tuple[int, int, int]]:
    """Four descriptors of a request that every device serves, but whose answer is not looked at."""
    at = buffer(ring)
    ring.memory.write(at, small(bench)[0][0] if bench.device != "rng" else b"")
    length = len(small(bench)[0][0]) if bench.device != "rng" else 4
    return [(at, 2, 0), (at + 2, length - 2, 0), (at + 16, 20, WRITE), (at + 40, 1, WRITE)]


@case(proves=("SPLIT-DEV-07", "PACKED-DEV-P07"), traps=(15,))
async def write_is_ignored_where_a_descriptor_points_at_a_table(bench: Bench) -> None:
    device = await bench.start()
    ring = device.queues[bench.queue]
    for flags in (INDIRECT, INDIRECT | WRITE):
        descriptors = one_request(bench, ring)
        if isinstance(ring, SplitQueue):
            descriptors = [(at, n, f | NEXT) for at, n, f in descriptors[:-1]] + descriptors[-1:]
        offer(ring, (table_of(ring, descriptors), 16 * len(descriptors), flags))
        await device.kick(bench.queue, always=True)
        await bench.host.until(lambda ring=ring: ring.has_used, timeout_ns=200_000)
        await device.start()
        ring = device.queues[bench.queue]
    await exercise(bench, device)


def table_of(ring: Ring, descriptors: Sequence[tuple[int, int, int]], following: Sequence[int] = ()) -> int:
    """Address of an exposed table written as it is given; split entries are followed by ``following``."""
    made = ring.memory.alloc(16 * len(descriptors), align=16)
    following = following or range(1, len(descriptors) + 1)
    for number, ((address, length, flags), next) in enumerate(zip(descriptors, following, strict=True)):
        if isinstance(ring, SplitQueue):
            raw = wire.pack(Descriptor, addr=address, len=length, flags=flags, next=next)
        else:
            raw = wire.pack(PackedDescriptor, addr=address, len=length, id=next, flags=flags)
        made.write(raw, 16 * number)
    ring.memory.grant(made.address, made.size, readable=True)
    return made.address


@packed_tables(proves=("PACKED-DEV-P06",), breaks=("PACKED-DRV-13",))
async def only_write_counts_in_a_packed_table(bench: Bench) -> None:
    """Neither ids nor the other flags, NEXT and INDIRECT among them."""
    device = await bench.start()
    for _ in range(4):
        ring, others = device.queues[bench.queue], 0xFFFF & ~(WRITE | 0)
        noise = [bench.rng.getrandbits(16) & others for _ in range(4)]
        noise[bench.rng.randrange(4)] |= INDIRECT | NEXT | PackedFlag.AVAIL
        descriptors = [
            (at, n, f | bits) for (at, n, f), bits in zip(one_request(bench, ring), noise, strict=True)
        ]
        ids = [bench.rng.getrandbits(16) for _ in descriptors]
        offer(ring, (table_of(ring, descriptors, ids), 64, INDIRECT))
        await device.kick(bench.queue, always=True)
        await bench.host.until(lambda ring=ring: ring.has_used, timeout_ns=200_000)
        await device.start()
    await exercise(bench, device)


def JUMPING(variant: RingVariant) -> bool:
    """For split tables whose descriptors may follow each other in any order."""
    return TABLES(variant) and SPLIT(variant) and not variant.in_order


@case(proves=("SPLIT-DEV-01",), variants=JUMPING)
async def a_table_is_followed_by_its_links(bench: Bench) -> None:
    """And it may be longer than the chain in it."""
    device = await bench.start()
    for following, used in (((2, 0, 3, 1), 4), ((3, 9, 9, 9), 2), ((1, 3, 0, 2), 4)):
        ring = device.queues[bench.queue]
        at = buffer(ring)
        place, flags = 0, {}
        for step in range(used):
            flags[place] = WRITE if step == used - 1 else NEXT
            place = following[place]
        descriptors = [(at + 16 * n, 16, flags.get(n, INDIRECT)) for n in range(4)]
        offer(ring, (table_of(ring, descriptors, following), 64, INDIRECT))
        await device.kick(bench.queue, always=True)
        await bench.host.until(lambda ring=ring: ring.has_used, timeout_ns=200_000)
        await device.start()
    await exercise(bench, device)


# -- broken tables -----------------------------------------------------------------------------------


@case(proves=BROKEN)
async def a_table_of_a_length_that_is_no_multiple_of_16_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = table(ring, [(buffer(ring), 8, WRITE)] * 3)
        offer(ring, (at, bench.rng.choice((1, 8, 15, 17, 40)), INDIRECT))

    await broken(bench, Cause.INDIRECT_TABLE, spoil=spoil)


@case(proves=BROKEN)
async def a_table_of_length_zero_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.INDIRECT_TABLE, spoil=lambda ring: offer(ring, (buffer(ring), 0, INDIRECT)))


@case(proves=BROKEN, breaks=("SPLIT-DRV-08", "PACKED-DRV-14"))
async def a_table_longer_than_any_queue_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        entries = bench.queue_size + 1
        at = table(ring, [(buffer(ring), 1, WRITE)] * entries)
        offer(ring, (at, bench.rng.choice((16 * entries, 0xFFFF_FFF0)), INDIRECT))

    await broken(bench, Cause.INDIRECT_TABLE, spoil=spoil)


@split_tables(proves=BROKEN, breaks=("SPLIT-DRV-07",))
async def a_table_in_a_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        inner = table(ring, [(at, 8, WRITE)])
        position = bench.rng.randrange(3)
        outer = [(inner, 16, INDIRECT) if n == position else (at, 8, NEXT) for n in range(3)]
        offer(ring, (table_of(ring, outer), 48, INDIRECT))

    await broken(bench, Cause.INDIRECT_NESTED, spoil=spoil)


@case(proves=BROKEN, breaks=("SPLIT-DRV-09", "PACKED-DRV-15"))
async def a_table_with_something_behind_it_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (table(ring, [(at, 8, 0)]), 16, INDIRECT | NEXT), (at, 8, WRITE))

    await broken(bench, Cause.INDIRECT_NESTED, spoil=spoil)


@packed_tables(proves=BROKEN, breaks=("PACKED-DRV-15",))
async def a_table_behind_a_buffer_breaks_a_packed_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (at, 8, NEXT), (table(ring, [(at, 8, WRITE)]), 16, INDIRECT))

    await broken(bench, Cause.INDIRECT_NESTED, spoil=spoil)


@case(proves=BROKEN)
async def an_entry_of_length_zero_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (table(ring, [(at, 8, 0), (at, 0, WRITE), (at, 8, WRITE)]), 48, INDIRECT))

    await broken(bench, Cause.ZERO_LENGTH, spoil=spoil)


@case(proves=BROKEN)
async def a_readable_entry_after_a_writable_one_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (table(ring, [(at, 8, WRITE), (at, 8, 0)]), 32, INDIRECT))

    await broken(bench, Cause.READABLE_AFTER_WRITABLE, spoil=spoil)


@split_tables(proves=BROKEN, traps=(14,))
async def a_readable_table_after_a_writable_descriptor_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (at, 8, WRITE | NEXT), (table(ring, [(at, 8, 0)]), 16, INDIRECT))

    await broken(bench, Cause.READABLE_AFTER_WRITABLE, spoil=spoil)


@case(proves=BROKEN)
async def a_table_of_more_than_4_gib_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (table(ring, [(at, 0xFFFF_FFFF, WRITE), (at, 1, WRITE)]), 32, INDIRECT))

    await broken(bench, Cause.TOTAL_LENGTH, spoil=spoil)


@split_tables(proves=BROKEN)
async def a_link_out_of_a_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        outside = bench.rng.choice((2, 3, 0x8000, 0xFFFF))
        offer(ring, (table_of(ring, [(at, 8, NEXT), (at, 8, NEXT)], (1, outside)), 32, INDIRECT))

    await broken(bench, Cause.NEXT_INDEX, spoil=spoil)


@case(proves=BROKEN, variants=JUMPING)
async def a_loop_in_a_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        descriptors = [(at, 8, NEXT)] * 3
        offer(ring, (table_of(ring, descriptors, (1, 2, bench.rng.randrange(3))), 48, INDIRECT))

    await broken(bench, Cause.CHAIN_LOOP, spoil=spoil)


@case(proves=BROKEN)
async def a_table_that_cannot_be_read_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        ring.memory.grant(FAR_AWAY, 64, readable=True)
        offer(ring, (FAR_AWAY, 64, INDIRECT))

    await broken(bench, Cause.DMA_ERROR, spoil=spoil)
