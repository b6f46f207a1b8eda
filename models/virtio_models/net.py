"""Network device.  [virtio 1.4 §5.1]"""

import random
from collections import deque
from collections.abc import Sequence

from virtio_spec import net, wire
from virtio_spec.net import (
    CtrlClass,
    CtrlHeader,
    CtrlMac,
    CtrlMq,
    CtrlRx,
    NetConfig,
    NetFeature,
    NetHdrFlag,
    NetHeader,
    NetStatus,
)
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask
from virtio_spec.virtio_pci import Interface

from .flow import flow_of
from .kind import DeviceKind, Waiting
from .network import Network

__all__ = ["Net", "complete_checksum"]

BROADCAST = b"\xff" * 6
BACKLOG = 64  # frames that wait for a buffer
TABLE = 16  # addresses that a filter table holds
BOTH_TUNNELS = net.GSO_UDP_TUNNEL_IPV4 | net.GSO_UDP_TUNNEL_IPV6
TAGGED_HEADER = 18  # octets of an Ethernet header with a VLAN tag


def complete_checksum(frame: bytes, start: int, offset: int) -> bytes | None:
    """The frame with the checksum of all from ``start`` on at ``start + offset``; ``None`` if not inside.

    The field holds the sum of the pseudo-header before.  [virtio 1.4 §5.1.6.2, RFC 1071]
    """
    at = start + offset
    if at + 2 > len(frame):
        return None
    covered = frame[start:] + bytes(len(frame) - start & 1)
    total = sum(int.from_bytes(covered[n : n + 2], "big") for n in range(0, len(covered), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    # 0 and 0xFFFF are the same number; in UDP the former would say that there is no checksum.
    checksum = (~total & 0xFFFF) or 0xFFFF
    return frame[:at] + checksum.to_bytes(2, "big") + frame[at + 2 :]


class Net(DeviceKind):
    """A network device on a cable.

    Frames that come while there is no buffer wait, up to :data:`BACKLOG`; what comes then is lost, as is a
    frame that fits no buffer, is damaged, or is longer than the MTU and a tagged Ethernet header. A frame
    goes to the pair of queues on which its flow was last sent; of a flow that was not seen yet, to the first
    one.  [§5.1.6.5.5]

    Parameters
    ----------
    network
        What is on the cable.
    mac
        Six octets.
    pairs
        Pairs of queues; MQ is offered if there are more than one.
    mtu
        Told to the driver, 68 to 65535.

    Attributes
    ----------
    link_up, speed
        What the driver is told; the speed is that which is there when the link comes up.  [§5.1.4.1]
    lost
        Frames from the wire that did not reach the driver for want of room.
    """

    device_type = DeviceType.NET
    class_code = ClassCode.NET
    interfaces = (Interface.MODERN,)
    config_layout = NetConfig
    requires = {
        NetFeature.CTRL_RX: (NetFeature.CTRL_VQ,),
        NetFeature.CTRL_MAC_ADDR: (NetFeature.CTRL_VQ,),
        NetFeature.MQ: (NetFeature.CTRL_VQ,),
    }

    def __init__(
        self,
        network: Network,
        *,
        mac: bytes = bytes.fromhex("025600000001"),
        pairs: int = 1,
        mtu: int = 1500,
    ):
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError(f"mac is a unicast address of 6 octets, not {mac.hex(':')}")
        if not 1 <= pairs <= 0x8000 or not 68 <= mtu <= 65535:
            raise ValueError(f"pairs is 1 to 32768 and mtu 68 to 65535, not {pairs} and {mtu}")
        self.network, self.permanent, self.pairs, self.mtu = network, mac, pairs, mtu
        self.link_up, self.speed = network.link_up, network.speed
        self.queues = 2 * pairs + 1
        self.features = feature_mask(
            NetFeature.CSUM,
            NetFeature.GUEST_CSUM,
            NetFeature.MTU,
            NetFeature.MAC,
            NetFeature.MRG_RXBUF,
            NetFeature.STATUS,
            NetFeature.CTRL_VQ,
            NetFeature.CTRL_RX,
            NetFeature.CTRL_MAC_ADDR,
            NetFeature.SPEED_DUPLEX,
            *([NetFeature.MQ] if pairs > 1 else []),
        )
        self.lost = 0
        self._forget()
        network.listeners.append(self._look)

    def _forget(self) -> None:
        self.mac = self.permanent
        self.promiscuous = self.all_multicast = False
        self.unicast: set[bytes] = set()
        self.multicast: set[bytes] = set()
        self.all_unicast_wanted = self.all_multicast_wanted = False  # more addresses than fit a table
        self.active = 1
        self._backlog: list[deque[tuple[bytes, bool]]] = [deque() for _ in range(self.pairs)]
        self._pair_of: dict[object, int] = {}

    def reset(self) -> None:
        """All filters, flows and frames that wait are forgotten."""
        super().reset()
        self._forget()

    def _has(self, feature: NetFeature) -> bool:
        return bool(self.accepted >> feature & 1)

    # -- configuration -------------------------------------------------------------------------------

    def config(self) -> bytes:
        """The configuration as of now."""
        return wire.pack(
            NetConfig,
            mac=int.from_bytes(self.mac, "little"),
            status=NetStatus.LINK_UP if self.link_up else 0,
            max_virtqueue_pairs=self.pairs,
            mtu=self.mtu,
            speed=self.speed,
            duplex=net.DUPLEX_FULL,
        )

    # -- the cable -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Something has happened on the cable."""
        found = self.network.link_up, self.speed if self.link_up else self.network.speed
        if found != (self.link_up, self.speed):
            self.link_up, self.speed = found
            self.changed()
        while (incoming := self.network.take()) is not None:
            if not incoming.error:
                self.receive(incoming.data, checked=incoming.checked)

    def receive(self, frame: bytes, *, checked: bool = False) -> None:
        """A frame comes undamaged; ``checked``: its TCP or UDP checksum was found right."""
        if not self.driver_ok or not self._wanted(frame):
            return
        pair = self._pair_of.get(flow_of(frame), 0)
        open_pairs = [number for number in range(self.active) if self.in_use(2 * number)]
        if not open_pairs:
            return
        backlog = self._backlog[pair if pair in open_pairs else open_pairs[0]]
        if len(backlog) >= BACKLOG:
            self.lost += 1
            return
        backlog.append((frame, checked))
        self.poke()

    def _wanted(self, frame: bytes) -> bool:
        """Whether a frame is not too long and the receive filter lets it pass.  [§5.1.6.5.1, §5.1.6.5.2]"""
        if len(frame) > self.mtu + TAGGED_HEADER:
            return False
        if not self._has(NetFeature.CTRL_RX) or self.promiscuous:
            return True
        destination = frame[:6]
        if destination == BROADCAST:
            return True
        if destination[0] & 1:
            return self.all_multicast or self.all_multicast_wanted or destination in self.multicast
        return destination == self.mac or self.all_unicast_wanted or destination in self.unicast

    # -- queues --------------------------------------------------------------------------------------

    @property
    def control_queue(self) -> int:
        """Number of the control queue: without MQ there is one pair before it.  [§5.1.2]"""
        return 2 * self.pairs if self._has(NetFeature.MQ) else 2

    def serve(self, queue: int, waiting: Sequence[Waiting], rng: random.Random) -> list[tuple[int, bytes]]:
        """Send the oldest, receive into the oldest, carry out the oldest command.

        Queues behind the control queue are none of this driver's, and nothing comes of them.
        """
        if queue == self.control_queue:
            return [(0, self._control(waiting[0].readable)[: waiting[0].room])]
        if queue > self.control_queue:
            return []
        if queue % 2:
            self._transmit(waiting[0].readable, queue // 2)
            return [(0, b"")]
        return self._deliver(self._backlog[queue // 2], [chain.room for chain in waiting])

    def _transmit(self, data: bytes, pair: int) -> None:
        size = wire.size(NetHeader)
        if len(data) <= size:
            return
        header, frame = wire.unpack(NetHeader, data[:size]), data[size:]
        if header.gso_type & BOTH_TUNNELS == BOTH_TUNNELS:
            return  # [§5.1.6.2.2]
        if header.flags & NetHdrFlag.NEEDS_CSUM and self._has(NetFeature.CSUM):
            completed = complete_checksum(frame, header.csum_start, header.csum_offset)
            if completed is None:
                return
            frame = completed
        self._pair_of[flow_of(frame)] = pair
        self.network.put(frame)

    def _deliver(self, backlog: deque[tuple[bytes, bool]], rooms: list[int]) -> list[tuple[int, bytes]]:
        """The oldest frame into as many chains as it takes, all full but the last.  [§5.1.6.4]"""
        while backlog:
            frame, checked = backlog[0]
            needed = wire.size(NetHeader) + len(frame)
            if not self._has(NetFeature.MRG_RXBUF):
                rooms = rooms[:1]
                if rooms[0] < needed:
                    backlog.popleft()
                    self.lost += 1
                    continue
            count = next((n for n in range(1, len(rooms) + 1) if sum(rooms[:n]) >= needed), None)
            if count is None or rooms[0] < wire.size(NetHeader):
                return []
            backlog.popleft()
            valid = checked and self._has(NetFeature.GUEST_CSUM)
            data = (
                wire.pack(NetHeader, flags=NetHdrFlag.DATA_VALID if valid else 0, num_buffers=count) + frame
            )
            ends = [sum(rooms[: n + 1]) for n in range(count)]
            return [(n, data[ends[n] - rooms[n] : ends[n]]) for n in range(count)]
        return []

    # -- control queue, §5.1.6.5 ---------------------------------------------------------------------

    def _control(self, command: bytes) -> bytes:
        size = wire.size(CtrlHeader)
        if len(command) < size:
            return bytes([net.ACK_ERR])
        header, data = wire.unpack(CtrlHeader, command[:size]), command[size:]
        carry_out = {
            CtrlClass.RX: (NetFeature.CTRL_RX, self._receive_mode),
            CtrlClass.MAC: (NetFeature.CTRL_MAC_ADDR, self._mac),
            CtrlClass.MQ: (NetFeature.MQ, self._multiqueue),
        }
        feature, handler = carry_out.get(header.ctrl_class, (None, None))
        if header.ctrl_class == CtrlClass.MAC and header.command == CtrlMac.TABLE_SET:
            feature = NetFeature.CTRL_RX
        if handler is None or feature is None or not self._has(feature):
            return bytes([net.ACK_ERR])
        return bytes([net.ACK_OK if handler(header.command, data) else net.ACK_ERR])

    def _receive_mode(self, command: int, data: bytes) -> bool:
        if len(data) != 1 or data[0] > 1:
            return False
        if command == CtrlRx.PROMISC:
            self.promiscuous = bool(data[0])
        elif command == CtrlRx.ALLMULTI:
            self.all_multicast = bool(data[0])
        else:
            return False
        return True

    def _mac(self, command: int, data: bytes) -> bool:
        if command == CtrlMac.ADDR_SET:
            if len(data) != 6:
                return False
            self.mac = data
            return True
        if command != CtrlMac.TABLE_SET:
            return False
        tables = []
        for _ in range(2):
            count = int.from_bytes(data[:4], "little")
            if len(data) < 4 + 6 * count:
                return False
            tables.append([data[4 + 6 * n : 10 + 6 * n] for n in range(count)])
            data = data[4 + 6 * count :]
        if data:
            return False
        self.unicast, self.multicast = ({*table[:TABLE]} for table in tables)
        self.all_unicast_wanted, self.all_multicast_wanted = (len(table) > TABLE for table in tables)
        return True

    def _multiqueue(self, command: int, data: bytes) -> bool:
        pairs = int.from_bytes(data, "little")
        if command != CtrlMq.VQ_PAIRS_SET or len(data) != 2 or not 1 <= pairs <= self.pairs:
            return False
        self.active = pairs
        return True
