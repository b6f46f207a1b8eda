"""What several modules of the test list need."""

from collections.abc import Awaitable, Callable
from typing import Any

from virtio_spec import layout, wire
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType
from virtio_spec.net import CtrlClass, CtrlHeader, CtrlRx
from virtio_spec.virtio import DeviceStatus
from virtio_spec.virtio_pci import CommonCfg, LegacyHeader

from ..devices.blk import VirtioBlk
from ..devices.net import HEADER_BYTES, VirtioNet
from ..devices.rng import VirtioRng
from ..devices.vmmci import VirtioVmmci
from ..driver import VirtioDevice
from ..host import BusError
from ..legacy import Legacy
from ..modern import Modern
from .registry import Bench

__all__ = [
    "CONFIG_BYTES",
    "QUIET_NS",
    "ROOM",
    "Scratch",
    "bar_sizes",
    "ended",
    "exercise",
    "in_order",
    "legacy",
    "modern",
    "prepared",
    "quiet",
    "reconfigure",
    "same",
    "settle",
    "small",
    "unsupported",
]

#: For any frame: octets of a virtio header, of an Ethernet header with a tag, and of data.
ROOM = HEADER_BYTES + 18 + 1500
#: Whole dwords of the device configuration that any device of this type has.
CONFIG_BYTES = {"blk": 60, "net": 16, "vmmci": 20}
#: How long a device is watched that should do nothing: far longer than it takes for a small request.
QUIET_NS = 2_000
#: How long one is watched that has to do something, if it says nothing.
ANSWER_NS = 100_000


def same(found: Any, expected: Any, what: str) -> None:
    """``AssertionError`` unless both are equal; says what they are."""
    if found != expected:
        raise AssertionError(f"{what} is {_shown(found)}, not {_shown(expected)}")


def _shown(value: Any) -> str:
    return f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


async def unsupported(request: Awaitable[Any], what: str) -> None:
    """``AssertionError`` unless the request ends with UR."""
    try:
        await request
    except BusError as error:
        same(error.status, "UR", f"status of {what}")
        return
    raise AssertionError(f"{what} succeeded")


def modern(device: VirtioDevice) -> Modern:
    """The transport of a device on the modern interface."""
    if not isinstance(device.transport, Modern):
        raise TypeError("the driver does not use the modern interface")
    return device.transport


def legacy(device: VirtioDevice) -> Legacy:
    """The transport of a device on the legacy interface."""
    if not isinstance(device.transport, Legacy):
        raise TypeError("the driver does not use the legacy interface")
    return device.transport


async def prepared(bench: Bench) -> VirtioDevice:
    """A device with its features negotiated, without queues."""
    device = await bench.probe()
    await device.acknowledge()
    await device.negotiate()
    if bench.transport == "modern":
        await device.features_ok()
    return device


def bar_sizes(bench: Bench) -> dict[int, int]:
    """The BARs that the device has to have, and their sizes."""
    sizes = {}
    if bench.interface.has_legacy:
        sizes[layout.LEGACY_BAR] = layout.LEGACY_BAR_SIZE
    if bench.device != "vmmci":
        sizes[layout.MSIX_BAR] = layout.MSIX_BAR_SIZE
    if bench.interface.has_modern:
        sizes[layout.MODERN_BAR] = layout.MODERN_BAR_SIZE
    return sizes


class Scratch:
    """A register that can be written and read back without consequences, of 16 or 32 bits.

    It is behind a BAR of the interface that the bench's driver uses.
    """

    def __init__(self, bench: Bench):
        self._host = bench.host
        if bench.transport == "modern":
            self.bar, self.size = layout.MODERN_BAR, 4
            self.offset = layout.COMMON_OFFSET + wire.field_offset(CommonCfg, "driver_feature_select")
        else:
            self.bar, self.size = layout.LEGACY_BAR, 2
            self.offset = wire.field_offset(LegacyHeader, "queue_select")

    async def write(self, value: int) -> None:
        """Write all of it."""
        await self._host.bar_write(self.bar, self.offset, self.size, value)

    async def read(self) -> int:
        """Read all of it."""
        return await self._host.bar_read(self.bar, self.offset, self.size)


def small(bench: Bench) -> tuple[list[bytes], list[int]]:
    """Readable and writable buffers of a small request in ``bench.queue`` that every device serves."""
    if bench.device == "rng":
        return [], [8]
    if bench.device == "net":
        return [wire.pack(CtrlHeader, ctrl_class=CtrlClass.RX, command=CtrlRx.ALLMULTI) + b"\1"], [1]
    return [wire.pack(BlkReqHeader, type=BlkReqType.GET_ID)], [21]


async def exercise(bench: Bench, device: VirtioDevice) -> None:
    """One request whose answer is checked: the device works."""
    if bench.device == "rng":
        seen = len(bench.entropy.history)
        data = await VirtioRng(device).read(8)
        in_order(bench, data, max(seen - 4096, 0))
        return
    if bench.device == "vmmci":
        expected = bench.rng.getrandbits(34), bench.rng.randrange(1_000_000)
        bench.clock.set(*expected)
        same(await VirtioVmmci(device).time(), expected, "the time")
        return
    if bench.device == "net":
        await _converse(bench, VirtioNet(device))
        return
    blk, sector = VirtioBlk(device), bench.rng.randrange(bench.disk.capacity)
    expected = bench.rng.randbytes(SECTOR_BYTES)
    if bench.has("behind"):
        bench.disk.data[SECTOR_BYTES * sector : SECTOR_BYTES * (sector + 1)] = expected
    elif bench.read_only:
        expected = await blk.read(sector, 1)
    else:
        await blk.write(sector, expected)
    same(await blk.read(sector, 1), expected, f"sector {sector}")


async def _converse(bench: Bench, net: VirtioNet) -> None:
    """Say something, and hear the answer.

    A frame that was on its way before, when nobody had room for it, may come first.
    """
    own, peer = await net.address(), b"\x02" + bench.rng.randbytes(5)
    said, heard = (
        addresses + b"\x88\xb5" + bench.rng.randbytes(48) for addresses in (peer + own, own + peer)
    )
    before, early = len(bench.network.sent), set(bench.network.taken)
    bench.network.respond = lambda frame: [heard] if frame == said else []
    await net.post(ROOM)
    await net.send(said)
    while (found := (await net.receive()).data) != heard:
        same(found in early, True, f"whether {found.hex()} was on its way, and is not the answer")
        await net.post(ROOM)
    same(bench.network.sent[before:], [said], "the frames sent")


def reconfigure(bench: Bench) -> None:
    """Change the device configuration: the capacity of a disk, the link of a network device."""
    if bench.device == "net":
        bench.network.set_link(not bench.network.link_up)
    else:
        bench.disk.resize(bench.disk.capacity - 1)


def in_order(bench: Bench, data: bytes, start: int) -> int:
    """``AssertionError`` unless the noise source gave ``data`` out in one piece; returns where it ends."""
    position = bench.entropy.history.find(data, start)
    if position < 0:
        raise AssertionError(f"{data.hex()} is nowhere in what the noise source gave out from {start} on")
    return position + len(data)


async def settle(bench: Bench) -> None:
    """Let the device end what follows a chain that came back: its message, and a last look at the ring.

    There is nothing to wait for, as neither has to come.
    """
    await bench.host.sleep(QUIET_NS)


async def ended(bench: Bench, device: VirtioDevice, came: Callable[[], bool]) -> bool:
    """Wait until ``came()``, or until the device needs a reset, which is the result.

    ``AssertionError`` if it is neither for long: a source of noise that has just been switched on is tested
    before it says anything.
    """
    for _ in range(ANSWER_NS // QUIET_NS):
        await bench.host.sleep(QUIET_NS)
        if await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET:
            return True
        if came():
            return False
    raise AssertionError(f"no chain has come back within {ANSWER_NS} ns, and the device does not say why")


async def quiet(bench: Bench, device: VirtioDevice, *, vectors: int | None = None) -> None:
    """Watch for a while: ``AssertionError`` if a chain comes back or a message arrives.

    With ``vectors``, a message of those below that.
    """
    vectors = bench.queues + 1 if vectors is None else vectors
    messages = [bench.host.interrupts(vector) for vector in range(vectors)]
    before = {number: queue.returned for number, queue in device.queues.items()}
    await bench.host.sleep(QUIET_NS)
    for number, queue in device.queues.items():
        same(queue.returned, before[number], f"chains that came back in queue {number}")
    for vector in range(vectors):
        same(bench.host.interrupts(vector), messages[vector], f"messages of vector {vector}")
