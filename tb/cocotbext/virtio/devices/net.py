"""Front end of a network device.  [virtio 1.4 §5.1]

Frames are without a frame check sequence, and whatever ``bytes()`` makes one of can be sent: octets as well
as packets of scapy.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsBytes

from scapy.layers.inet import IP, TCP, UDP, in4_pseudoheader
from scapy.layers.inet6 import IPv6, in6_pseudoheader
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import checksum
from virtio_models.net import complete_checksum
from virtio_spec import wire
from virtio_spec.net import (
    ACK_OK,
    CtrlClass,
    CtrlHeader,
    CtrlMac,
    CtrlMq,
    CtrlRx,
    NetConfig,
    NetFeature,
    NetGso,
    NetHdrFlag,
    NetHeader,
    NetStatus,
)

from ..driver import Request, VirtioDevice
from ..function import DriverError
from .framing import pieces

__all__ = ["HEADER_BYTES", "CommandRefused", "Received", "VirtioNet", "address_table", "offloaded"]

HEADER_BYTES = wire.size(NetHeader)
#: GSO types, and the features without which a device does not use them.
SEGMENTED = {
    NetGso.TCPV4: NetFeature.GUEST_TSO4,
    NetGso.UDP: NetFeature.GUEST_UFO,
    NetGso.TCPV6: NetFeature.GUEST_TSO6,
}


class CommandRefused(Exception):
    """The device acknowledged a command with something else than OK."""

    def __init__(self, ctrl_class: int, command: int, ack: int):
        self.ack = ack
        super().__init__(f"the answer to command {command} of class {ctrl_class} is {ack}")


@dataclass(frozen=True)
class Received:
    """A frame as the driver got it.

    Attributes
    ----------
    data
        The frame; a checksum that the device had left to the driver is complete.
    flags
        Of its header.
    buffers
        How many it was in.
    """

    data: bytes
    flags: NetHdrFlag
    buffers: int

    @property
    def packet(self) -> Packet:
        """The frame in layers."""
        return Ether(self.data)


def offloaded(packet: Packet) -> tuple[bytes, int, int]:
    """A packet whose TCP or UDP checksum is left to the device, for :meth:`VirtioNet.prepare`.

    Returns the frame, with the sum of the pseudo-header where the checksum belongs, from where on it is
    computed, and where it belongs from there.  [§5.1.6.2]
    """
    segment = packet.getlayer(UDP) or packet.getlayer(TCP)
    if segment is None:
        raise ValueError("there is neither UDP nor TCP in the packet")
    frame, octets = bytes(packet), bytes(segment)
    start, offset = len(frame) - len(octets), 6 if isinstance(segment, UDP) else 16
    kind = 17 if isinstance(segment, UDP) else 6
    if IPv6 in packet:
        pseudo = bytes(in6_pseudoheader(kind, packet[IPv6], len(octets)))
    else:
        pseudo = in4_pseudoheader(kind, packet[IP], len(octets))
    at = start + offset
    total = ~checksum(pseudo) & 0xFFFF
    return frame[:at] + total.to_bytes(2, "big") + frame[at + 2 :], start, offset


def address_table(addresses: Sequence[bytes]) -> bytes:
    """One of the two tables of TABLE_SET.  [§5.1.6.5.2]"""
    return len(addresses).to_bytes(4, "little") + b"".join(addresses)


class VirtioNet:
    """Frames and commands on the queues of a device at DRIVER_OK, on its first pair if nothing is said.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: VirtioDevice):
        self.device = device
        self._used: dict[int, deque[Request]] = {}

    def accepted(self, feature: NetFeature) -> bool:
        """Whether the driver has accepted a feature."""
        return bool(self.device.accepted >> feature & 1)

    # -- configuration -------------------------------------------------------------------------------

    async def address(self) -> bytes:
        """The device's address."""
        return (await self.device.transport.config(NetConfig, "mac")).mac.to_bytes(6, "little")

    async def link_up(self) -> bool:
        """Whether there is a link."""
        return bool((await self.device.transport.config(NetConfig, "status")).status & NetStatus.LINK_UP)

    async def speed(self) -> int:
        """Mbit/s."""
        return (await self.device.transport.config(NetConfig, "speed")).speed

    async def most_pairs(self) -> int:
        """How many pairs of queues there are."""
        return (await self.device.transport.config(NetConfig, "max_virtqueue_pairs")).max_virtqueue_pairs

    # -- sending, §5.1.6.2 ---------------------------------------------------------------------------

    def prepare(
        self,
        frame: SupportsBytes,
        *,
        pair: int = 0,
        checksum: tuple[int, int] | None = None,
        header: bytes = bytes(HEADER_BYTES),
        cuts: Sequence[int] = (HEADER_BYTES,),
    ) -> Request:
        """Make a frame available without a kick.

        ``checksum`` is from where on the device is to compute it, and where it belongs from there; without,
        ``header`` is the whole header as it is. Header and frame are cut into buffers at ``cuts``.
        """
        if checksum is not None:
            start, offset = checksum
            header = wire.pack(NetHeader, flags=NetHdrFlag.NEEDS_CSUM, csum_start=start, csum_offset=offset)
        return self.device.prepare(2 * pair + 1, pieces(header + bytes(frame), cuts))

    async def send(
        self,
        frame: SupportsBytes,
        *,
        pair: int = 0,
        checksum: tuple[int, int] | None = None,
        header: bytes = bytes(HEADER_BYTES),
        cuts: Sequence[int] = (HEADER_BYTES,),
    ) -> None:
        """:meth:`prepare`, kick, and wait until the device has taken it; it need not have left yet."""
        request = self.prepare(frame, pair=pair, checksum=checksum, header=header, cuts=cuts)
        await self.device.kick(2 * pair + 1)
        await self.device.wait(request)

    # -- receiving, §5.1.6.3, §5.1.6.4 ---------------------------------------------------------------

    async def post(self, *rooms: int | Sequence[int], pair: int = 0) -> None:
        """Offer buffers for frames: each one a chain, of one descriptor or of several with these lengths."""
        for room in rooms:
            self.device.prepare(2 * pair, [], [room] if isinstance(room, int) else room)
        await self.device.kick(2 * pair)

    def take(self, *, pair: int = 0) -> Received | None:
        """The next frame, ``None`` if no more have come; :class:`DriverError` if anything is wrong with it.

        Its buffers have to be there, all of them, as soon as the first is.
        """
        waiting = self._used.setdefault(2 * pair, deque())
        waiting.extend(self.device.collect(2 * pair))
        if not waiting:
            return None
        if len(waiting[0].written) < HEADER_BYTES:
            raise DriverError(f"a frame begins with a buffer of {waiting[0].used} bytes")
        header = wire.unpack(NetHeader, waiting[0].written[:HEADER_BYTES])
        count = header.num_buffers
        if not count or count > 1 and not self.accepted(NetFeature.MRG_RXBUF):
            raise DriverError(f"num_buffers is {count}")
        if count > len(waiting):
            raise DriverError(f"{len(waiting)} of the {count} buffers of a frame are there")
        parts = [waiting.popleft() for _ in range(count)]
        if any(part.used != len(part.content) for part in parts[:-1]):
            raise DriverError("a buffer that is not the last of its frame is not full")
        if not parts[-1].used:
            raise DriverError("the last buffer of a frame has nothing of it")
        data = b"".join(part.written for part in parts)[HEADER_BYTES:]
        return self._understood(header.flags, header, data)

    def _understood(self, flags: int, header, data: bytes) -> Received:
        if flags and not self.accepted(NetFeature.GUEST_CSUM):
            raise DriverError(f"flags are {flags:#x} although GUEST_CSUM was not accepted")
        known = int(NetHdrFlag.NEEDS_CSUM | NetHdrFlag.DATA_VALID)  # an int: ~ is to have all other bits
        if self.accepted(NetFeature.RSC_EXT):
            known |= NetHdrFlag.RSC_INFO
        if flags & ~known:
            raise DriverError(f"flags are {flags:#x}, of which something was not negotiated")
        needed = SEGMENTED.get(header.gso_type)
        if header.gso_type != NetGso.NONE and (needed is None or not self.accepted(needed)):
            raise DriverError(f"gso_type is {header.gso_type}, which was not negotiated")
        if flags & NetHdrFlag.NEEDS_CSUM:
            completed = complete_checksum(data, header.csum_start, header.csum_offset)
            if completed is None:
                raise DriverError("the checksum to be computed lies outside of the frame")
            data = completed
        return Received(data, NetHdrFlag(flags), header.num_buffers)

    async def receive(self, *, pair: int = 0, timeout_ns: int = 200_000) -> Received:
        """The next frame, as soon as it has come; :class:`~.host.HostTimeout`."""
        ring = self.device.queues[2 * pair]
        while (found := self.take(pair=pair)) is None:
            await self.device.host.until(lambda: ring.has_used, timeout_ns=timeout_ns)
        return found

    # -- commands, §5.1.6.5 --------------------------------------------------------------------------

    async def control_queue(self) -> int:
        """Its number: without MQ there is one pair before it.  [§5.1.2]"""
        return 2 * await self.most_pairs() if self.accepted(NetFeature.MQ) else 2

    async def command(
        self, ctrl_class: int, command: int, data: bytes = b"", *, cuts: Sequence[int] | None = None
    ) -> int:
        """Have a command carried out; its ack. It is cut into buffers at ``cuts``, else behind its header."""
        header = wire.pack(CtrlHeader, ctrl_class=ctrl_class, command=command)
        readable = pieces(header + data, (len(header),) if cuts is None else cuts)
        request = await self.device.submit(await self.control_queue(), readable, [1])
        await self.device.wait(request)
        if request.used != 1:
            raise DriverError(f"used length {request.used} does not cover the ack")
        return request.content[0]

    async def carry_out(self, ctrl_class: int, command: int, data: bytes = b"") -> None:
        """:meth:`command`; :class:`CommandRefused` unless the ack is OK."""
        ack = await self.command(ctrl_class, command, data)
        if ack != ACK_OK:
            raise CommandRefused(ctrl_class, command, ack)

    async def set_promiscuous(self, on: bool) -> None:
        """Whether all frames are received."""
        await self.carry_out(CtrlClass.RX, CtrlRx.PROMISC, bytes([on]))

    async def set_all_multicast(self, on: bool) -> None:
        """Whether all frames to groups are received."""
        await self.carry_out(CtrlClass.RX, CtrlRx.ALLMULTI, bytes([on]))

    async def set_filter(self, stations: Sequence[bytes] = (), groups: Sequence[bytes] = ()) -> None:
        """The addresses to which frames are received, besides the device's own and that of all."""
        await self.carry_out(
            CtrlClass.MAC, CtrlMac.TABLE_SET, address_table(stations) + address_table(groups)
        )

    async def set_address(self, address: bytes) -> None:
        """Give the device another address."""
        await self.carry_out(CtrlClass.MAC, CtrlMac.ADDR_SET, address)

    async def set_pairs(self, count: int) -> None:
        """How many pairs of queues the device uses."""
        await self.carry_out(CtrlClass.MQ, CtrlMq.VQ_PAIRS_SET, count.to_bytes(2, "little"))
