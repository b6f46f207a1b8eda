"""Bad answers to the device's own reads, for a :class:`.link.RawLink`."""

from collections.abc import Callable, Iterator, Sequence

from virtio_spec import wire
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType
from virtio_spec.net import CtrlClass, CtrlHeader, CtrlMac
from virtio_spec.tlp import CompletionStatus, Fmt

from ..driver import Request, VirtioDevice
from .link import Read
from .packets import POISONED, raw_link
from .registry import Bench

__all__ = [
    "Change",
    "Fault",
    "places",
    "poisoned",
    "sources",
    "stray",
    "too_long",
    "with_status",
    "without_data",
    "wrong_byte_count",
    "wrong_lower_address",
]

#: Tag of no read: above those of every design of this project's test benches.
STRAY_TAG = 0xFF

#: A completion, to what the device gets instead of it.
Change = Callable[[list[int]], list[int]]


def with_status(status: int) -> Change:
    """A completion without data."""

    def change(packet: list[int]) -> list[int]:
        head = packet[0] & ~(Fmt.DATA_3DW << 29 | 0x3FF)
        return [head, packet[1] & ~(7 << 13) | status << 13, packet[2]]

    return change


def poisoned(packet: list[int]) -> list[int]:
    """The same, poisoned."""
    return [packet[0] | POISONED, *packet[1:]]


def wrong_byte_count(packet: list[int]) -> list[int]:
    """Four bytes more are said to follow than were asked for."""
    return [packet[0], packet[1] & ~0xFFF | (packet[1] + 4) & 0xFFF, *packet[2:]]


def wrong_lower_address(packet: list[int]) -> list[int]:
    """The data is said to begin a dword further up."""
    return [*packet[:2], packet[2] & ~0x7F | (packet[2] + 4) & 0x7F, *packet[3:]]


def without_data(packet: list[int]) -> list[int]:
    """Success, but nothing comes."""
    return with_status(CompletionStatus.SUCCESSFUL)(packet)


def too_long(packet: list[int]) -> list[int]:
    """More than was asked for: the byte count is still right."""
    more = max((packet[1] & 0xFFF) // 4 + 2 - (packet[0] & 0x3FF), 1)
    return [packet[0] + more, *packet[1:], *([0] * more)]


def stray(packet: list[int]) -> list[int]:
    """The same for another tag."""
    return [*packet[:2], packet[2] & ~0xFF00 | STRAY_TAG << 8, *packet[3:]]


class Fault:
    """Spoils the answer to the first read that touches a place: its first completion is changed.

    Parameters
    ----------
    bench
        Has raw packets.
    address, length
        The place.
    change
        What becomes of the first completion; ``None`` for nothing.
    ends
        The device gets no more completions of that read.
    lost
        To the device the read is incomplete then, for good.

    Attributes
    ----------
    read
        The spoilt one.
    kept
        The host's completions of it that the device did not get.
    """

    def __init__(
        self,
        bench: Bench,
        address: int,
        length: int,
        change: Change | None,
        *,
        ends: bool = True,
        lost: bool = False,
    ):
        self._link, self._change, self._ends, self._lost = raw_link(bench), change, ends, lost
        self._address, self._end = address, address + length
        self.read: Read | None = None
        self.kept: list[list[int]] = []
        self._link.tamper = self

    def __call__(self, read: Read, packet: list[int]) -> Sequence[list[int]]:
        """A :data:`.link.Tamper`."""
        if self.read is None and read.address < self._end and self._address < read.address + read.length:
            self.read = read
            if self._lost:
                self._link.lost(read)
            if self._change is not None:
                return [self._change(packet)]
        elif read is not self.read or not self._ends:
            return [packet]
        self.kept.append(packet)
        return []


def sources(bench: Bench, device: VirtioDevice) -> tuple[Request, dict[str, tuple[int, int]]]:
    """A prepared request, and what is read for it: address and length by name."""
    queue, direct = device.queues[bench.queue], 0 if bench.variant.indirect else None
    if bench.device == "rng":
        request = device.prepare(bench.queue, [], [8, 9], direct=direct)
    elif bench.device == "net":
        header = wire.pack(CtrlHeader, ctrl_class=CtrlClass.MAC, command=CtrlMac.ADDR_SET)
        request = device.prepare(bench.queue, [header, b"\x02" + bench.rng.randbytes(5)], [1], direct=direct)
    else:
        header = wire.pack(BlkReqHeader, type=BlkReqType.OUT, sector=0)
        request = device.prepare(bench.queue, [header, bench.rng.randbytes(SECTOR_BYTES)], [1], direct=direct)
    places = queue.reads()
    if request.readable:
        places |= {
            "request header": (request.readable[0].address, request.readable[0].size),
            "data": (request.readable[1].address, request.readable[1].size),
        }
    return request, places


def places(bench: Bench) -> Iterator[str]:
    """Names of what :func:`sources` gives."""
    if not bench.variant.packed:
        yield from ("available index", "available ring")
    yield "descriptors"
    if bench.variant.indirect:
        yield "indirect tables"
    if bench.device != "rng":
        yield from ("request header", "data")
