"""What the endpoint is to do while it is measured, on either backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from cocotbext.virtio.devices.net import VirtioNet
from cocotbext.virtio.driver import VirtioDevice
from cocotbext.virtio.suite import Bench
from cocotbext.virtio.variant import PLAIN, RingVariant
from virtio_spec import wire
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType

from ..config import Configuration
from .load import PAGE, Chain, Load, aligned_rings
from .reference import WIDTH, configure
from .traffic import Kind, Traffic

__all__ = [
    "BULK",
    "DISK_SECTORS",
    "FRAME",
    "NET_HEADER",
    "PAIRS",
    "WORKLOADS",
    "Workload",
    "begin",
    "blk",
    "incoming",
]

#: Bytes for header and status of a block request, so that neither shares a line with another one's.
HEADER = 64
#: Bytes of a bulk request.
BULK = 128 << 10
#: From DRIVER_OK to the first kick, so that the device has nothing of its own left to do.
SETTLING_NS = 8_000
#: Before the first command of a network device: after a reset it takes a cycle per descriptor of all queues
#: until it looks at a ring, up to 65536; this and what a command may take is longer.
CLEARING_NS = 100_000
#: Of the disk behind a block device.
DISK_SECTORS = 1 << 15
#: 64 bytes of Ethernet to the address that the endpoint has, the header in front, and buffers for both.
STATION, PEER = bytes.fromhex("025600000001"), bytes.fromhex("0256000001")
FRAME = STATION + PEER + bytes.fromhex("00 88b5") + bytes(50)
NET_HEADER, SENT_ROOM, FRAME_ROOM = 12, 128, 1536
#: Entries of a queue of a network device, all of which are in use; and the most buffers for frames that there
#: is memory for, of which with many pairs each queue has fewer.
NET_DEPTH, FRAME_BUFFERS = 256, 7 << 10
#: What common drivers use.
EVENT_IDX = RingVariant(event_idx=True)
TABLES = RingVariant(event_idx=True, indirect=True)


class NetQueue(IntEnum):
    """Queues of a pair.  [virtio 1.4 §5.1.2]"""

    RECEIVE = 0
    TRANSMIT = 1


@dataclass(frozen=True)
class Workload:
    """Requests of one kind.

    Attributes
    ----------
    configuration
        The endpoint.
    load
        Makes the work for a device that is running.
    variant
        Of the rings.
    queue_size
        Entries of each queue.
    frames
        Whether there are frames on the cable all the time, those of :func:`incoming`.
    """

    configuration: Configuration
    load: Callable[[VirtioDevice], Load]
    variant: RingVariant = EVENT_IDX
    queue_size: int | None = None
    frames: bool = False


async def begin(bench: Bench, workload: Workload) -> tuple[Load, Traffic]:
    """Up to the first kick, which the caller does; all memory is below 4 GiB, so that headers are short."""
    memory = bench.host.memory
    memory.arenas = memory.arenas[:1]
    device = await bench.probe()
    device.variant = workload.variant
    aligned_rings(device)
    await configure(device)
    await device.start(queue_size=workload.queue_size, variant=workload.variant)
    if workload.configuration.device == "net" and (pairs := workload.configuration.queues) > 1:
        card = VirtioNet(device)
        await bench.host.sleep(CLEARING_NS)
        await card.set_pairs(pairs)
        if workload.frames:
            # Frames come to the pair on which their conversation was last sent.  [virtio 1.4 §5.1.6.5.5]
            for pair, frame in enumerate(incoming(pairs)):
                await card.send(frame[6:12] + frame[:6] + frame[12:], pair=pair)
    await bench.host.sleep(SETTLING_NS)
    load = workload.load(device)
    (arena,) = memory.arenas
    return load, Traffic(range(arena.base, arena.base + len(arena.store)), load.areas)


def incoming(pairs: int) -> list[bytes]:
    """Frames from as many stations, one for each pair."""
    return [FRAME[:11] + bytes([number]) + FRAME[12:] for number in range(pairs)]


def blk(
    *kinds: BlkReqType, size: int, depth: int, queues: Sequence[int] = (0,)
) -> Callable[[VirtioDevice], Load]:
    """Requests of ``size`` bytes in segments of a page at most, ``depth`` of each kind on each queue."""

    def make(device: VirtioDevice) -> Load:
        memory = device.host.memory
        count = len(kinds) * depth
        room = max(size, PAGE)
        data = memory.alloc(room * count * len(queues), align=PAGE)
        rest = memory.alloc(HEADER * count * len(queues), align=HEADER)
        chains: dict[int, list[Chain]] = {number: [] for number in queues}
        for place in range(count * len(queues)):
            kind, number = kinds[place % len(kinds)], queues[place // len(kinds) % len(queues)]
            header = wire.pack(BlkReqHeader, type=kind, sector=place * (size // SECTOR_BYTES))
            rest.write(header, HEADER * place)
            address = data.address + room * place
            pieces = [(address + start, min(PAGE, size - start)) for start in range(0, size, PAGE)]
            head = (rest.address + HEADER * place, len(header))
            status = (rest.address + HEADER * place + len(header), 1)
            if kind == BlkReqType.IN:
                chains[number].append(Chain([head], [*pieces, status]))
            else:
                chains[number].append(Chain([head, *pieces], [status]))
        areas = [
            (range(data.address, data.address + data.size), Kind.DATA),
            (range(rest.address, rest.address + rest.size), Kind.HEADER),
        ]
        return Load(device, chains, areas, direct=0 if device.variant.indirect else None)

    return make


def net(kind: NetQueue, *, depth: int, queues: int = 1) -> Callable[[VirtioDevice], Load]:
    """Frames of the shortest kind, each with its header in one buffer, on the queues of the first pairs.

    There are no interrupts, as with a driver that polls while there is something to do.
    """

    def make(device: VirtioDevice) -> Load:
        memory = device.host.memory
        room = FRAME_ROOM if kind == NetQueue.RECEIVE else SENT_ROOM
        numbers = [2 * pair + kind for pair in range(queues)]
        data = memory.alloc(room * depth * queues, align=PAGE)
        chains: dict[int, list[Chain]] = {number: [] for number in numbers}
        for place in range(depth * queues):
            address = data.address + room * place
            if kind == NetQueue.TRANSMIT:
                memory.write(address, bytes(NET_HEADER) + FRAME)
                chain = Chain([(address, NET_HEADER + len(FRAME))])
            else:
                chain = Chain((), [(address, room)])
            chains[numbers[place // depth]].append(chain)
        areas = [(range(data.address, data.address + data.size), Kind.DATA)]
        return Load(device, chains, areas, wanted=False)

    return make


def rng(device: VirtioDevice) -> Load:
    """One byte at a time, one after the other."""
    data = device.host.memory.alloc(PAGE, align=PAGE)
    areas = [(range(data.address, data.address + data.size), Kind.DATA)]
    return Load(device, {0: [Chain((), [(data.address, 1)])]}, areas)


def _packets(kind: NetQueue, pairs: int) -> Workload:
    """Short frames on the queues of so many pairs."""
    configuration = Configuration("net", WIDTH, tags=64, queue_size=NET_DEPTH, queues=pairs)
    receive = kind == NetQueue.RECEIVE
    depth = min(NET_DEPTH, FRAME_BUFFERS // pairs) if receive else NET_DEPTH
    load = net(kind, depth=depth, queues=pairs)
    return Workload(configuration, load, queue_size=NET_DEPTH, frames=receive)


#: With more than 32 tags for data, the rings have more of their own too. 32 chains, because with more reads
#: under way than the link needs, each one takes as long as those before it.
BLK = Configuration("blk", WIDTH, tags=64, chains=32)
RNG = Configuration("rng", WIDTH)
#: How many pairs of queues are busy at once, on an endpoint with as many; with 127 it has 255 queues.
PAIRS = (1, 4, 16, 64, 127)
#: By name, so that a simulator that is started for one finds it.
WORKLOADS = {
    "bulk to host": Workload(BLK, blk(BlkReqType.IN, size=BULK, depth=32), TABLES),
    "bulk from host": Workload(BLK, blk(BlkReqType.OUT, size=BULK, depth=32), TABLES),
    "both ways": Workload(BLK, blk(BlkReqType.IN, BlkReqType.OUT, size=BULK, depth=32), TABLES),
    "random reads": Workload(BLK, blk(BlkReqType.IN, size=PAGE, depth=32), TABLES),
    "random writes": Workload(BLK, blk(BlkReqType.OUT, size=PAGE, depth=32), TABLES),
    **{f"packets out, {pairs} pairs": _packets(NetQueue.TRANSMIT, pairs) for pairs in PAIRS},
    **{f"packets in, {pairs} pairs": _packets(NetQueue.RECEIVE, pairs) for pairs in PAIRS},
    # Without the event index: this driver is so fast that it would ask for a later interrupt in time.
    "latency": Workload(RNG, rng, PLAIN),
}
