"""The network device: frames both ways, checksums, merged buffers, commands, several pairs of queues."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet
from virtio_spec import net, wire
from virtio_spec.net import (
    GSO_UDP_TUNNEL_IPV4,
    GSO_UDP_TUNNEL_IPV6,
    CtrlClass,
    CtrlMac,
    CtrlRx,
    NetConfig,
    NetFeature,
    NetGso,
    NetHdrFlag,
    NetHeader,
)

from ..devices.net import HEADER_BYTES, Received, VirtioNet, address_table, offloaded
from ..host import HostTimeout
from .helpers import QUIET_NS, ROOM, modern, prepared, same, settle
from .registry import EVENT_IDX, ONCE, PACKED, Bench
from .registry import case as any_case

__all__: list[str] = []

case = partial(any_case, devices=("net",))
several = partial(case, profile="queues", needs=("pairs",))

BROADCAST = b"\xff" * 6
SHORTEST, ETHERNET, TAGGED = 60, 14, 18  # a whole frame; headers without and with a VLAN tag
#: A bit of ``virtio_net_hdr.flags`` that has no meaning.
UNKNOWN_FLAG = 0x80
BOTH_TUNNELS = GSO_UDP_TUNNEL_IPV4 | GSO_UDP_TUNNEL_IPV6
#: How many addresses of each kind cases put into a filter; the standard sets no limit.
ADDRESSES = 16


def without(*features: NetFeature) -> int:
    """A driver's wishes: all but these."""
    return ~sum(1 << feature for feature in features)


async def started(bench: Bench, **options: Any) -> VirtioNet:
    """The front end of a device at DRIVER_OK."""
    return VirtioNet(await bench.start(**options))


async def offer(bench: Bench, front: VirtioNet, *rooms: int | Sequence[int], pair: int = 0) -> None:
    """Offer buffers, and give the device the time to find them: it may drop what comes before."""
    await front.post(*rooms, pair=pair)
    await settle(bench)


async def left(bench: Bench, count: int) -> list[bytes]:
    """What has left the device, as soon as those are ``count`` frames; :class:`~..host.HostTimeout`."""
    end = bench.host.now_ns() + 200_000
    while len(bench.network.sent) < count:
        if bench.host.now_ns() > end:
            raise HostTimeout(f"{len(bench.network.sent)} of {count} frames have left the device")
        await bench.host.sleep(100)  # nothing in memory tells of a frame on the cable
    return bench.network.sent


def station(bench: Bench) -> bytes:
    """Some station's address."""
    return b"\x02" + bench.rng.randbytes(5)


def group(bench: Bench) -> bytes:
    """Some group's address."""
    return b"\x01\x00\x5e" + bench.rng.randbytes(3)


def frame(bench: Bench, target: bytes, size: int | None = None, *, source: bytes | None = None) -> bytes:
    """A frame of a protocol that nobody knows, by default a short one of random length."""
    size = bench.rng.randrange(SHORTEST, 150) if size is None else size
    return target + (source or station(bench)) + b"\x88\xb5" + bench.rng.randbytes(size - ETHERNET)


def segment(bench: Bench, target: bytes, size: int, kind: type = UDP, network: type = IP) -> Packet:
    """A packet of TCP or UDP with ``size`` octets of data, from and to random ends."""
    rng = bench.rng
    if network is IP:
        ends = {
            name: f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}" for name in ENDS
        }
    else:
        ends = {name: f"fd00::{rng.randrange(1, 1 << 16):x}" for name in ENDS}
    ports = {"sport": rng.randrange(1024, 1 << 16), "dport": rng.randrange(1024, 1 << 16)}
    ether = Ether(dst=target.hex(":"), src=station(bench).hex(":"))
    return ether / network(**ends) / kind(**ports) / rng.randbytes(size)


ENDS = ("src", "dst")


def answered(packet: Packet) -> bytes:
    """A packet of the same flow in the other direction."""
    found = Ether(bytes(packet))
    for layer in (Ether, IP):
        found[layer].src, found[layer].dst = found[layer].dst, found[layer].src
    found[UDP].sport, found[UDP].dport = found[UDP].dport, found[UDP].sport
    del found[IP].chksum, found[UDP].chksum
    return bytes(found)


async def stock(bench: Bench, front: VirtioNet, count: int, *, pair: int = 0) -> None:
    """:func:`offer` buffers until the device has so many."""
    missing = count - front.device.queues[2 * pair].in_flight
    await offer(bench, front, *[ROOM] * missing, pair=pair)


async def passing(bench: Bench, front: VirtioNet, *targets: bytes) -> list[bytes]:
    """To which of these addresses a frame passes the device's filter: behind each goes one to all."""
    found = []
    for target in targets:
        sent, marker = frame(bench, target), frame(bench, BROADCAST)
        await stock(bench, front, 2)
        bench.network.send(sent)
        bench.network.send(marker)
        got = (await front.receive()).data
        if got == sent:
            found.append(target)
            got = (await front.receive()).data
        same(got, marker, "a frame to all stations")
    return found


# -- configuration -------------------------------------------------------------------------------------


@case(proves=("NET-DEV-003", "NET-DEV-004", "NET-DEV-005", "NET-DEV-011", "NET-DEV-012"), variants=ONCE)
async def the_configuration_is_sensible(bench: Bench) -> None:
    transport = (await bench.probe()).transport

    async def mtu() -> int:
        return (await transport.config(NetConfig, "mtu")).mtu

    before = await mtu()
    if not 1280 <= before <= 65535:
        raise AssertionError(f"mtu is {before}")
    front = await started(bench)
    address = await front.address()
    if address[0] & 1 or not any(address):
        raise AssertionError(f"the address is {address.hex(':')}")
    speed = await front.speed()
    if speed > 0x7FFF_FFFF and speed != net.SPEED_UNKNOWN:
        raise AssertionError(f"speed is {speed:#x}")
    duplex = (await transport.config(NetConfig, "duplex")).duplex
    if duplex not in (0, 1, 0xFF):
        raise AssertionError(f"duplex is {duplex}")
    same(await front.link_up(), True, "whether there is a link")
    await front.device.reset()
    same(await mtu(), before, "mtu after a reset")


@case(proves=("NET-DEV-P02",), variants=ONCE)
async def there_are_two_queues_for_each_pair_and_one_for_commands(bench: Bench) -> None:
    front = await started(bench)
    same(await front.device.transport.num_queues(), bench.queues, "num_queues")
    same(front.accepted(NetFeature.CTRL_VQ), True, "whether CTRL_VQ is offered")
    await front.set_promiscuous(False)


@case(needs=("speed",), proves=("NOTIF-DEV-P01", "PCI-ISR-DEV-02", "NET-DEV-013"), variants=ONCE)
async def a_change_of_the_link_is_told(bench: Bench) -> None:
    """Of a link whose speed has changed the driver hears when it comes up again."""
    front = await started(bench)
    for up, speed in ((False, 10_000), (True, 25_000), (False, 25_000), (True, 10_000)):
        before, _ = bench.host.interrupts(0), await front.link_up()
        generation = await modern(front.device).common("config_generation")
        bench.network.set_link(up, speed)
        await front.device.wait_interrupt(0, before)
        same(await front.link_up(), up, "whether there is a link")
        if up:
            same(await front.speed(), speed, "speed")
        same(await front.device.transport.isr() & 2, 2, "configuration bit of the ISR")
        if await modern(front.device).common("config_generation") == generation:
            raise AssertionError("the generation is the same before and after the change")
        if up:
            bench.network.set_link(True, speed + 15_000)
            await settle(bench)
            same(await front.speed(), speed, "speed of a link that is still up")
        await settle(bench)


# -- sending -------------------------------------------------------------------------------------------


@case(proves=("NET-DEV-017", "NET-DEV-022", "SPLIT-DEV-01", "SPLIT-DEV-P03"), traps=(13,))
async def a_frame_leaves_as_it_is_however_it_is_cut(bench: Bench) -> None:
    """Header and frame may be cut anywhere; without a flag, or segments, their fields say nothing."""
    front, sent = await started(bench), []
    for number in range(5):
        made = frame(bench, station(bench), bench.rng.choice((SHORTEST, 61, 200, 515)))
        hints = {"hdr_len": bench.rng.getrandbits(16), "gso_size": bench.rng.getrandbits(16)}
        header = wire.pack(NetHeader, csum_start=14, csum_offset=bench.rng.randrange(30), **hints)
        cuts = bench.rng.sample(range(1, HEADER_BYTES + len(made)), number)
        await front.send(made, header=header, cuts=cuts)
        sent.append(made)
    same(await left(bench, len(sent)), sent, "the frames that left")


@case(proves=("NET-DEV-016", "NET-DEV-017"), variants=ONCE)
async def a_flag_without_a_meaning_changes_nothing(bench: Bench) -> None:
    front = await started(bench)
    made = bytes(segment(bench, station(bench), 50))
    header = wire.pack(NetHeader, flags=UNKNOWN_FLAG, csum_start=34, csum_offset=6)
    await front.send(made, header=header)
    await front.send(frame(bench, BROADCAST))
    same((await left(bench, 2))[0], made, "the frame")


@case(proves=("NET-DEV-023",), variants=ONCE, breaks=("NET-DRV-041",))
async def a_frame_with_both_tunnel_bits_does_not_leave(bench: Bench) -> None:
    """Whatever type is beside them; its chain comes back, and frames around it leave."""
    front, sent = await started(bench), []
    for gso_type in (BOTH_TUNNELS, BOTH_TUNNELS | NetGso.TCPV4, 0xFF):
        await front.send(frame(bench, station(bench)), header=wire.pack(NetHeader, gso_type=gso_type))
        sent.append(frame(bench, station(bench)))
        await front.send(sent[-1])
    same(await left(bench, len(sent)), sent, "the frames that left")


@case(proves=("NET-DEV-007",))
async def a_frame_as_long_as_the_mtu_leaves_whole(bench: Bench) -> None:
    front = await started(bench)
    mtu = (await front.device.transport.config(NetConfig, "mtu")).mtu
    made = [frame(bench, station(bench), mtu + ETHERNET - less) for less in (0, 1)]
    for each in made:
        await front.send(each)
    same(await left(bench, 2), made, "the frames that left")


@case(proves=("SPLIT-DEV-22", "PACKED-DEV-01"), traps=(16,))
async def frames_leave_in_the_order_of_their_queue(bench: Bench) -> None:
    front = await started(bench, queue_size=32)
    sent = []
    for _ in range(2):
        made = [frame(bench, station(bench)) for _ in range(10)]
        requests = []
        for each in made:
            requests.append(front.prepare(each, cuts=bench.rng.choice(((), (HEADER_BYTES,)))))
            if bench.rng.random() < 0.3:
                await front.device.kick(1)
        await front.device.kick(1)
        await front.device.wait(*requests)
        sent += made
    same(await left(bench, len(sent)), sent, "the frames that left")


@case(needs=("checksums",), proves=("NET-DEV-017", "NET-DEV-029"))
async def a_checksum_left_to_the_device_is_completed(bench: Bench) -> None:
    """Of TCP and UDP, at odd and even places and lengths; between frames that need none."""
    front = await started(bench)
    same(front.accepted(NetFeature.CSUM), True, "whether CSUM is offered")
    sent = []
    for kind, network, size in (
        *((UDP, IP, 18), (TCP, IP, 1), (UDP, IPv6, 0), (TCP, IPv6, 333), (UDP, IP, 700), (TCP, IP, 64)),
    ):
        packet = segment(bench, station(bench), size, kind, network)
        made, start, offset = offloaded(packet)
        cuts = bench.rng.sample(range(1, HEADER_BYTES + len(made)), 2)
        await front.send(made, checksum=(start, offset), cuts=cuts)
        sent += [bytes(packet), frame(bench, station(bench))]
        await front.send(sent[-1])
    same([each.hex() for each in await left(bench, len(sent))], [each.hex() for each in sent], "the frames")


@case(proves=("NET-DEV-029",), variants=ONCE)
async def a_checksum_is_left_alone_if_nobody_asks(bench: Bench) -> None:
    """A wrong one is the driver's."""
    front = await started(bench)
    wrong = bytearray(bytes(segment(bench, station(bench), 40)))
    wrong[-1] ^= 0x55
    await front.send(bytes(wrong))
    same(await left(bench, 1), [bytes(wrong)], "the frame")


@case(proves=("SPLIT-DEV-P01", "PACKED-DEV-P11"), traps=(28,))
async def both_rings_go_round(bench: Bench) -> None:
    front = await started(bench, queue_size=5 if bench.variant.packed else 4)
    address, count = await front.address(), 11
    bench.network.respond = lambda sent: [sent[6:12] + sent[:6] + sent[12:]]
    for number in range(count):
        made = frame(bench, station(bench), source=address)
        await front.post(ROOM)
        await front.send(made)
        back = made[6:12] + made[:6] + made[12:]
        same((await front.receive()).data, back, f"answer number {number}")
    for queue in (0, 1):
        same(front.device.queues[queue].returned, count, f"chains that came back in queue {queue}")


# -- receiving -----------------------------------------------------------------------------------------


@case(
    proves=(
        *("NET-DEV-031", "NET-DEV-037", "SPLIT-DEV-01", "SPLIT-DEV-16"),
        *(f"NET-DEV-{number:03}" for number in range(42, 49)),
        *("NET-DEV-056", "NET-DEV-060", "NET-DEV-061"),
    ),
    traps=(1, 13, 29),
)
async def a_frame_comes_whole_behind_its_header(bench: Bench) -> None:
    """The buffer may be cut anywhere, the header too; the front end finds what was not negotiated in it."""
    front = await started(bench)
    address = await front.address()
    for rooms in ((ROOM,), (HEADER_BYTES, ROOM), (5, 30, ROOM), (1, 12, 64, 200, 300)):
        await offer(bench, front, rooms)
        sent = frame(bench, address, bench.rng.choice((SHORTEST, 61, 64, 333)))
        bench.network.send(sent)
        found = await front.receive()
        same((found.data, found.buffers), (sent, 1), "the frame and num_buffers")


@case(proves=("NET-DEV-006", "NET-DEV-031"))
async def a_frame_of_the_mtu_comes_and_a_longer_one_does_not(bench: Bench) -> None:
    """What is as long as one with a tag can be may come or not, if it has none."""
    front = await started(bench)
    mtu, address = (await front.device.transport.config(NetConfig, "mtu")).mtu, await front.address()
    await offer(bench, front, *[HEADER_BYTES + 2 * mtu] * 3)
    sent = [frame(bench, address, size + mtu) for size in (ETHERNET, TAGGED + 1, TAGGED + mtu // 2)]
    sent += [frame(bench, address, ETHERNET + mtu), frame(bench, address)]
    for each in sent:
        bench.network.send(each)
        await settle(bench)
    for expected in (sent[0], *sent[3:]):
        same((await front.receive()).data, expected, "the next frame")


@case(proves=("NET-DEV-032", "NET-DEV-036"), traps=(29,))
async def without_merged_buffers_each_frame_has_one(bench: Bench) -> None:
    front = await started(bench, features=without(NetFeature.MRG_RXBUF))
    address = await front.address()
    await offer(bench, front, *[ROOM] * 8)
    sent = [frame(bench, address, bench.rng.choice((SHORTEST, 200, 1514))) for _ in range(4)]
    for each in sent:
        bench.network.send(each)
    for each in sent:
        found = await front.receive()
        same((found.data, found.buffers), (each, 1), "the frame and num_buffers")


@case(
    proves=("NET-DEV-031", "NET-DEV-037", "NET-DEV-038", "NET-DEV-039", "PACKED-DEV-P09"),
    traps=(29,),
)
async def merged_buffers_come_together_and_full(bench: Bench) -> None:
    """The driver looks as soon as the first one of a frame is there, and needs all of them then."""
    front = await started(bench, queue_size=64)
    same(front.accepted(NetFeature.MRG_RXBUF), True, "whether MRG_RXBUF is offered")
    address = await front.address()
    for size in (SHORTEST, 300, 200, 500, 111, 450):
        missing = 12 - front.device.queues[0].in_flight
        cuts = [(5, bench.rng.randrange(60, 100)), (bench.rng.randrange(60, 200),)]
        await offer(bench, front, *(bench.rng.choice(cuts) for _ in range(missing)))
        sent = frame(bench, address, size)
        bench.network.send(sent)
        found = await front.receive()
        same(found.data, sent, "the frame")
        if size > 200 and found.buffers < 2:
            raise AssertionError(f"{size} octets came in {found.buffers} buffer of less than that")


@case(proves=("NET-DEV-037", "NET-DEV-039", "PACKED-DEV-P09"), traps=(29,))
async def frames_in_buffers_of_any_size_come_in_order(bench: Bench) -> None:
    front = await started(bench, queue_size=None)
    address, rng = await front.address(), bench.rng
    for _ in range(3):
        sent = [frame(bench, address, rng.choice((SHORTEST, 100, 244, 600))) for _ in range(4)]
        rooms = [rng.choice((64, 100, 128, 256)) for _ in range(36)]
        await offer(bench, front, *rooms)
        for each in sent:
            bench.network.send(each)
        for each in sent:
            same((await front.receive()).data, each, "the next frame")
        await front.device.reset()
        front = await started(bench, queue_size=None)


@case(proves=("PACKED-DEV-P09", "NET-DEV-039"), traps=(28, 29), variants=PACKED)
async def merged_buffers_come_together_over_the_end_of_a_packed_ring(bench: Bench) -> None:
    front = await started(bench, queue_size=7)
    address = await front.address()
    for _ in range(8):
        await offer(bench, front, 80, 80, 80)
        sent = frame(bench, address, 200)
        bench.network.send(sent)
        found = await front.receive()
        same((found.data, found.buffers), (sent, 3), "the frame and num_buffers")


@case(proves=("NET-DEV-040", "NET-DEV-041"), variants=ONCE)
async def without_guest_csum_flags_are_zero(bench: Bench) -> None:
    """The front end looks at them."""
    front = await started(bench, features=without(NetFeature.GUEST_CSUM))
    address = await front.address()
    await offer(bench, front, ROOM, ROOM)
    for checked in (True, False):
        sent = bytes(segment(bench, address, 40))
        bench.network.send(sent, checked=checked)
        same((await front.receive()).data, sent, "the frame")


@case(proves=("NET-DEV-054", "NET-DEV-055", "NET-DEV-065", "NET-DEV-067", "NET-DEV-068"))
async def only_what_was_checked_is_called_valid(bench: Bench) -> None:
    """And what came damaged does not come at all; a checksum left to the driver is completed by it."""
    front = await started(bench)
    address = await front.address()
    await offer(bench, front, *[ROOM] * 6)
    for number in range(6):
        sent, checked = bytes(segment(bench, address, 30 + number)), bench.rng.random() < 0.5
        bench.network.send(bytes(segment(bench, address, 30)), error=True, checked=True)
        bench.network.send(sent, checked=checked)
        found = await front.receive()
        same(found.data, sent, "the frame")
        if found.flags & NetHdrFlag.DATA_VALID and not checked:
            raise AssertionError("a checksum that nobody has looked at is called valid")


@case(proves=("NET-DEV-103",), variants=ONCE)
async def frames_with_any_tag_come_and_leave(bench: Bench) -> None:
    front = await started(bench)
    address = await front.address()
    own, peer, sent = address.hex(":"), station(bench).hex(":"), []
    for tag in (0, 1, bench.rng.randrange(2, 4095)):
        made, came = (
            Ether(dst=target, src=source) / Dot1Q(vlan=tag) / IP(dst="10.0.0.2") / UDP() / bytes(size)
            for target, source, size in ((peer, own, 60), (own, peer, 50))
        )
        sent.append(bytes(made))
        await front.send(made)
        await offer(bench, front, ROOM)
        bench.network.send(bytes(came))
        same((await front.receive()).data.hex(), bytes(came).hex(), f"the frame with tag {tag}")
    same(await left(bench, 3), sent, "the frames that left")


@case(proves=("STATUS-DEV-01",), traps=(8,))
async def nothing_is_received_before_driver_ok(bench: Bench) -> None:
    device = await prepared(bench)
    for queue in range(3):
        await device.set_up_queue(queue, 8, interrupts=False)
    front = VirtioNet(device)
    address = await front.address()
    await front.post(ROOM, ROOM)
    early, late = frame(bench, address), frame(bench, address)
    bench.network.send(early)
    await bench.host.sleep(QUIET_NS)
    same(device.queues[0].has_used, False, "whether a buffer came back before DRIVER_OK")
    await device.driver_ok()
    await device.kick(0, always=True)
    await settle(bench)
    bench.network.send(late)
    found = (await front.receive()).data
    same(found if found != early else (await front.receive()).data, late, "the frame after DRIVER_OK")


@case(needs=("robust",), proves=("RESET-DEV-01", "RESET-DEV-02"), traps=(6, 7))
async def nothing_is_received_after_a_reset(bench: Bench) -> None:
    for flr in (False, True):
        front = await started(bench)
        address = await front.address()
        await offer(bench, front, *[ROOM] * 4)
        for _ in range(6):
            bench.network.send(frame(bench, address, 400))
        await bench.host.sleep(bench.rng.randrange(1, 900))
        rings = [area for ring in front.device.queues.values() for area in (ring.areas[0], ring.areas[2])]
        await (front.device.function_level_reset() if flr else front.device.reset())
        bench.host.memory.grants.clear()
        parts = [area.read() for area in rings]
        bench.network.send(frame(bench, address))
        await bench.host.sleep(QUIET_NS)
        same([area.read() for area in rings], parts, "what the device may write, after the reset")
    front = await started(bench)
    await offer(bench, front, ROOM)
    sent = frame(bench, address)
    bench.network.send(sent)
    same((await front.receive()).data, sent, "the first frame after the reset")


@case(proves=("NET-DEV-037", "SPLIT-DEV-22"), traps=(16,))
async def a_shortage_of_buffers_does_no_harm(bench: Bench) -> None:
    """Frames that found none may be lost, but those that come are whole and in order."""
    front = await started(bench, queue_size=16)
    address = await front.address()
    await offer(bench, front, ROOM)
    sent = [frame(bench, address, 300) for _ in range(40)]
    for each in sent:
        bench.network.send(each)
    await bench.host.sleep(2 * QUIET_NS)
    came: list[bytes] = []
    while (found := front.take()) is not None or len(came) < 3:
        if found is None:
            sent.append(frame(bench, address))
            bench.network.send(sent[-1])
            await front.post(ROOM)
            found = await front.receive()
        else:
            await front.post(ROOM)
        came.append(found.data)
        await settle(bench)
    rest = iter(sent)
    if not all(each in rest for each in came):
        raise AssertionError("the frames that came are not some of those sent, in their order")
    await drained(bench, front, address)


async def drained(bench: Bench, front: VirtioNet, address: bytes) -> None:
    """Until a frame comes that was sent just before, and so all that the device had kept."""
    found = last = None
    while found is None or found.data != last:
        last = frame(bench, address)
        await stock(bench, front, 4)
        bench.network.send(last)
        await settle(bench)  # otherwise the one before it may be the last that has come, each time
        found = await front.receive()
        while (more := front.take()) is not None:
            found = more


@case(proves=("SPLIT-DEV-13", "SPLIT-DEV-14", "PACKED-DEV-P10"), traps=(11, 29), variants=EVENT_IDX)
async def an_interrupt_comes_in_the_middle_of_a_frame(bench: Bench) -> None:
    """The place that the driver waits for is any of those of a frame's buffers, or the one behind them."""
    front = await started(bench, queue_size=16)
    address, ring = await front.address(), front.device.queues[0]
    for after in (1, 0, 2, 3, 1):
        ring.want_interrupts(False)
        await offer(bench, front, *[80] * 3)
        ring.arm(after)
        before = bench.host.interrupts(1)
        sent = frame(bench, address, 200)
        bench.network.send(sent)
        found = await front.receive()
        same((found.data, found.buffers), (sent, 3), "the frame and num_buffers")
        await settle(bench)
        same(bench.host.interrupts(1) - before, int(after < 3), f"messages, {after} of 3")


@case(proves=("MSIX-DEV-P01", "SPLIT-DEV-11"), traps=(12,))
async def each_queue_interrupts_on_its_own_vector(bench: Bench) -> None:
    front = await started(bench)
    address = await front.address()

    async def told(*expected: int) -> None:
        await bench.host.sleep(QUIET_NS)
        found = [bench.host.interrupts(vector) - then for vector, then in enumerate(before)]
        same(found, list(expected), "messages of the configuration, receive, transmit and control queue")

    for _ in range(2):
        before = [bench.host.interrupts(vector) for vector in range(4)]
        await front.post(ROOM)
        await told(0, 0, 0, 0)
        bench.network.send(frame(bench, address))
        await front.receive()
        await told(0, 1, 0, 0)
        await front.send(frame(bench, station(bench)))
        await told(0, 1, 1, 0)
        await front.set_promiscuous(True)
        await told(0, 1, 1, 1)
        await settle(bench)


@case(proves=("NET-DEV-031", "NET-DEV-037", "SPLIT-DEV-22"), traps=(1, 16))
async def frames_and_commands_go_on_together(bench: Bench) -> None:
    """Both directions are busy, and the filter changes meanwhile without shutting any of it out."""
    front = await started(bench, queue_size=32)
    address, rng, device = await front.address(), bench.rng, front.device
    bench.network.respond = lambda sent: [sent[6:12] + sent[:6] + sent[12:]]
    made = [frame(bench, station(bench), rng.randrange(SHORTEST, 300), source=address) for _ in range(24)]
    expected = [each[6:12] + each[:6] + each[12:] for each in made]
    came: list[Received] = []
    await offer(bench, front, *[400] * 24)
    for first in range(0, 24, 6):
        requests = [front.prepare(each) for each in made[first : first + 6]]
        await device.kick(1)
        await front.set_promiscuous(rng.random() < 0.5)
        await front.set_filter([station(bench) for _ in range(rng.randrange(4))], [group(bench)])
        await front.device.wait(*requests)
        while (found := front.take()) is not None:
            came.append(found)
    while len(came) < len(made):
        came.append(await front.receive())
    same([each.data for each in came], expected, "the answers")
    same(bench.network.sent, made, "the frames that left")


# -- commands ------------------------------------------------------------------------------------------


@case(proves=("NET-DEV-086", "SPLIT-DEV-01"), traps=(13,))
async def a_command_is_understood_however_it_is_cut(bench: Bench) -> None:
    front = await started(bench)
    tables = address_table([station(bench)] * 2) + address_table([group(bench)] * 3)
    commands = [(CtrlClass.RX, CtrlRx.PROMISC, b"\0"), (CtrlClass.MAC, CtrlMac.TABLE_SET, tables)]
    commands += [(CtrlClass.MAC, CtrlMac.ADDR_SET, station(bench))]
    for _ in range(2):
        for ctrl_class, number, data in commands:
            count = bench.rng.randrange(min(len(data) + 2, 6))
            cuts = bench.rng.sample(range(1, len(data) + 2), count)
            ack = await front.command(ctrl_class, number, data, cuts=cuts)
            same(ack, net.ACK_OK, f"the answer to class {ctrl_class} command {number} cut at {sorted(cuts)}")


@case(proves=("NET-DEV-086",), variants=ONCE)
async def a_command_that_is_not_known_is_an_error(bench: Bench) -> None:
    front = await started(bench)
    unknown = [(0xFF, 0, b""), (CtrlClass.RX, 0x77, b"\1"), (CtrlClass.MAC, 0x77, bytes(6)), (0x80, 1, b"x")]
    for ctrl_class, number, data in unknown:
        same(await front.command(ctrl_class, number, data), net.ACK_ERR, f"the answer to class {ctrl_class}")


@case(needs=("robust",), proves=("NET-DEV-086",), variants=ONCE)
async def a_command_whose_feature_was_not_accepted_is_an_error(bench: Bench) -> None:
    front = await started(bench, features=without(NetFeature.CTRL_RX, NetFeature.CTRL_MAC_ADDR))
    for ctrl_class, number, data in (
        (CtrlClass.RX, CtrlRx.PROMISC, b"\1"),
        (CtrlClass.MAC, CtrlMac.TABLE_SET, 2 * address_table([])),
        (CtrlClass.MAC, CtrlMac.ADDR_SET, station(bench)),
    ):
        same(await front.command(ctrl_class, number, data), net.ACK_ERR, f"the answer to class {ctrl_class}")


@case(proves=("NET-DEV-099", "NET-DEV-102"), variants=ONCE)
async def at_first_only_frames_for_this_station_and_for_all_come(bench: Bench) -> None:
    front = await started(bench)
    own, others = await front.address(), (station(bench), group(bench))
    near = own[:5] + bytes([own[5] ^ 1])
    found = await passing(bench, front, own, BROADCAST, near, *others)
    same(found, [own, BROADCAST], "the addresses that pass")


@case(proves=("NET-DEV-086", "NET-DEV-087", "NET-DEV-088", "NET-DEV-089"), variants=ONCE)
async def receive_modes_open_the_filter(bench: Bench) -> None:
    front = await started(bench)
    someone, some = station(bench), group(bench)
    for promiscuous, all_multicast in ((True, False), (False, True), (True, True), (False, False)):
        await front.set_promiscuous(promiscuous)
        await front.set_all_multicast(all_multicast)
        found = await passing(bench, front, someone, some)
        expected = [someone] * promiscuous + [some] * (promiscuous or all_multicast)
        same(found, expected, f"what passes with promiscuous {promiscuous} and all groups {all_multicast}")


@case(proves=("NET-DEV-100", "NET-DEV-102"), variants=ONCE)
async def the_tables_are_in_force_when_their_command_has_ended(bench: Bench) -> None:
    front = await started(bench)
    await front.set_promiscuous(False)
    own = await front.address()
    for _ in range(2):
        stations, groups = ([make(bench) for _ in range(ADDRESSES)] for make in (station, group))
        await front.set_filter(stations, groups)
        wanted = [stations[0], stations[-1], bench.rng.choice(groups), groups[-1], own]
        others = [station(bench), group(bench), stations[3][:5] + bytes([stations[3][5] ^ 0x80])]
        same(await passing(bench, front, *wanted, *others), wanted, "the addresses that pass")
    await front.set_filter([], groups)
    same(await passing(bench, front, stations[0], groups[0]), [groups[0]], "what passes with groups only")
    await front.set_filter()
    same(await passing(bench, front, stations[0], groups[0], own), [own], "what passes with empty tables")


@case(proves=("NET-DEV-100",), variants=ONCE)
async def no_address_is_lost_for_want_of_room(bench: Bench) -> None:
    """A device that cannot keep that many lets others pass as well."""
    front = await started(bench)
    stations, groups = ([make(bench) for _ in range(40)] for make in (station, group))
    for tables in ((stations, []), ([], groups), (stations[:20], groups[:20])):
        await front.set_filter(*tables)
        wanted = [each for table in tables for each in (*table[:1], *table[-1:])]
        same(await passing(bench, front, *wanted), wanted, "the addresses that pass")


@case(proves=("NET-DEV-101", "NET-DEV-102"), variants=ONCE)
async def a_new_address_is_in_force_when_its_command_has_ended(bench: Bench) -> None:
    front = await started(bench)
    await front.set_promiscuous(False)
    first = await front.address()
    old = first
    for _ in range(2):
        new = station(bench)
        await front.set_address(new)
        same((await front.address()).hex(":"), new.hex(":"), "the address in the configuration")
        same(await passing(bench, front, old, new), [new], "the addresses that pass")
        old = new


@case(proves=("NET-DEV-099", "RESET-DEV-01"), traps=(7,), variants=ONCE)
async def a_reset_forgets_all_that_was_set(bench: Bench) -> None:
    for flr in (False, True):
        front = await started(bench)
        own, someone, some, new = await front.address(), station(bench), group(bench), station(bench)
        await front.set_filter([someone], [some])
        await front.set_address(new)
        await front.set_promiscuous(True)
        await front.set_all_multicast(True)
        await (front.device.function_level_reset() if flr else front.device.reset())
        front = await started(bench)
        same((await front.address()).hex(":"), own.hex(":"), "the address after the reset")
        found = await passing(bench, front, own, someone, some, new, station(bench))
        same(found, [own], "the addresses that pass after the reset")


# -- several pairs -------------------------------------------------------------------------------------


def pairs_of(bench: Bench) -> int:
    """How many pairs there are."""
    return bench.queues // 2


async def flow(bench: Bench, front: VirtioNet, pair: int, packet: Packet | None = None) -> Packet:
    """Send a packet of UDP on a pair."""
    packet = packet or segment(bench, station(bench), 40)
    packet.src = (await front.address()).hex(":")
    before = len(bench.network.sent)
    await front.send(packet, pair=pair)
    same((await left(bench, before + 1))[before:], [bytes(packet)], "the frame that left")
    return packet


async def stocked(bench: Bench, front: VirtioNet, count: int = 6) -> None:
    """Offer buffers in all queues."""
    for pair in range(pairs_of(bench)):
        await front.post(*[ROOM] * count, pair=pair)
    await settle(bench)


async def comes_on(bench: Bench, front: VirtioNet, data: bytes) -> int:
    """Let a frame come; the pair on which it does."""
    bench.network.send(data)
    rings = [front.device.queues[2 * pair] for pair in range(pairs_of(bench))]
    await bench.host.until(lambda: any(ring.has_used for ring in rings), timeout_ns=200_000)
    found = [(pair, got) for pair in range(pairs_of(bench)) if (got := front.take(pair=pair)) is not None]
    same([got.data for _, got in found], [data], "the frame that came")
    pair = found[0][0]
    await front.post(ROOM, pair=pair)
    await settle(bench)
    return pair


@several(proves=("NET-DEV-002", "NET-DEV-P02", "MSIX-DEV-01"), variants=ONCE)
async def the_number_of_pairs_is_told(bench: Bench) -> None:
    front = await started(bench)
    same(front.accepted(NetFeature.MQ), True, "whether MQ is offered")
    same(await front.most_pairs(), pairs_of(bench), "max_virtqueue_pairs")
    same(await front.device.transport.num_queues(), bench.queues, "num_queues")
    await front.set_pairs(pairs_of(bench))


@several(proves=("NET-DEV-P02",))
async def without_mq_the_control_queue_comes_behind_the_first_pair(bench: Bench) -> None:
    features = without(NetFeature.MQ, NetFeature.RSS)
    front = await started(bench, features=features, queues={0: 8, 1: 8, 2: 8})
    same(await front.command(CtrlClass.RX, CtrlRx.PROMISC, b"\1"), net.ACK_OK, "the answer")
    await offer(bench, front, ROOM)
    sent = frame(bench, station(bench))
    bench.network.send(sent)
    same((await front.receive()).data, sent, "a frame to another station")
    await front.send(sent)
    same(await left(bench, 1), [sent], "the frame that left")


@several(proves=("NET-DEV-112", "RESET-DEV-01"))
async def after_a_reset_the_first_pair_receives(bench: Bench) -> None:
    """Whatever pair a driver sends on."""
    for _ in range(2):
        front = await started(bench)
        await stocked(bench, front)
        for pair in range(pairs_of(bench)):
            packet = await flow(bench, front, pair if bench.rng.random() < 0.5 else 0)
            same(await comes_on(bench, front, answered(packet)), 0, "the pair on which a frame came")
        await front.set_pairs(pairs_of(bench))
        last = pairs_of(bench) - 1
        packet = await flow(bench, front, last)
        same(await comes_on(bench, front, answered(packet)), last, "the pair of the answer")
        await front.device.reset()


@several(proves=("NET-DEV-109", "NET-DEV-110"))
async def answers_come_on_the_pair_on_which_was_sent(bench: Bench) -> None:
    front = await started(bench)
    await front.set_pairs(pairs_of(bench))
    await stocked(bench, front)
    pairs = 2 * list(range(pairs_of(bench)))
    bench.rng.shuffle(pairs)
    for pair in pairs:
        packet = await flow(bench, front, pair)
        for _ in range(2):
            same(await comes_on(bench, front, answered(packet)), pair, "the pair of the answer")
    for pair in pairs:  # now that flow changes its pair
        packet = await flow(bench, front, pair, packet)
        same(await comes_on(bench, front, answered(packet)), pair, "the pair of a flow that has moved")


@several(proves=("NET-DEV-113", "NET-DEV-111"))
async def pairs_that_are_not_in_use_receive_nothing(bench: Bench) -> None:
    front = await started(bench)
    await stocked(bench, front, 10)
    for _ in range(3):
        await front.set_pairs(pairs_of(bench))
        packets = [await flow(bench, front, pair) for pair in range(pairs_of(bench))]
        used = bench.rng.randrange(1, pairs_of(bench))
        await front.set_pairs(used)
        for packet in packets:
            found = await comes_on(bench, front, answered(packet))
            if found >= used:
                raise AssertionError(f"a frame came on pair {found} of {used}")


@several(proves=("NET-DEV-111", "NET-DEV-109"))
async def frames_of_unknown_flows_come_once(bench: Bench) -> None:
    front = await started(bench, queue_size=16)
    await front.set_pairs(pairs_of(bench))
    await stocked(bench, front, 14)
    address = await front.address()
    sent = [bytes(segment(bench, address, 40)) for _ in range(8)]
    for each in sent:
        bench.network.send(each)
    came: list[bytes] = []
    rings = [front.device.queues[2 * pair] for pair in range(pairs_of(bench))]
    while len(came) < len(sent):
        await bench.host.until(lambda: any(ring.has_used for ring in rings), timeout_ns=200_000)
        for pair in range(pairs_of(bench)):
            while (found := front.take(pair=pair)) is not None:
                came.append(found.data)
    same(sorted(came), sorted(sent), "the frames that came")


@several(proves=("NET-DEV-109", "NET-DEV-031", "SPLIT-DEV-22"), traps=(1, 16))
async def all_pairs_are_busy_at_once(bench: Bench) -> None:
    """On which pair an answer comes is not looked at: a device need not tell that many flows apart."""
    front = await started(bench, queue_size=32)
    pairs = pairs_of(bench)
    await front.set_pairs(pairs)
    await stocked(bench, front, 24)
    own = (await front.address()).hex(":")
    bench.network.respond = lambda sent: [answered(Ether(sent))]
    made, requests = [], []
    for number in range(16):
        packet = segment(bench, station(bench), bench.rng.randrange(18, 200))
        packet.src = own
        made.append(bytes(packet))
        requests.append(front.prepare(packet, pair=number % pairs))
    for pair in bench.rng.sample(range(pairs), pairs):
        await front.device.kick(2 * pair + 1)
    await front.device.wait(*requests)
    same(sorted(await left(bench, len(made))), sorted(made), "the frames that left")
    came: list[bytes] = []
    rings = [front.device.queues[2 * pair] for pair in range(pairs)]
    while len(came) < len(made):
        await bench.host.until(lambda: any(ring.has_used for ring in rings), timeout_ns=200_000)
        for pair in range(pairs):
            while (found := front.take(pair=pair)) is not None:
                came.append(found.data)
    same(sorted(came), sorted(answered(Ether(each)) for each in made), "the answers")


async def resettable(bench: Bench) -> tuple[VirtioNet, Packet]:
    """A device with all pairs in use whose queues can be reset, and a packet of a flow of the second one."""
    front = await started(bench, variant=replace(bench.variant, ring_reset=True))
    await front.set_pairs(pairs_of(bench))
    await stocked(bench, front, 3)
    return front, await flow(bench, front, 1)


@several(needs=("pairs", "ring_reset"), proves=("QRST-DEV-01", "QRST-DEV-02"), traps=(27,))
async def frames_come_while_receive_queues_are_reset(bench: Bench) -> None:
    """Once at most, in a queue that is there, and then as if nothing had been.

    What comes for a queue that was reset may be given to another, kept or dropped.
    """
    front, packet = await resettable(bench)
    device, pairs, data = front.device, range(pairs_of(bench)), answered(packet)
    order = [1, *(pair for pair in pairs if pair != 1)]
    found: list[Received] = []
    for number, pair in enumerate(order):
        await device.reset_queue(2 * pair)
        bench.network.send(data)
        await bench.host.sleep(QUIET_NS)
        for other in order[number + 1 :]:
            while (got := front.take(pair=other)) is not None:
                found.append(got)
    for pair in pairs:
        await device.set_up_queue(2 * pair, 8)
    await stocked(bench, front, 4)
    for pair in pairs:
        while (got := front.take(pair=pair)) is not None:
            found.append(got)
    same([each for each in found if each.data != data], [], "what came besides the frames sent")
    if len(found) > len(order):
        raise AssertionError(f"{len(order)} frames came {len(found)} times")
    again = await flow(bench, front, 1)
    same(await comes_on(bench, front, answered(again)), 1, "the pair of an answer after all resets")


@several(needs=("pairs", "ring_reset"), proves=("NET-DEV-114", "NET-DEV-115"), traps=(27,))
async def frames_for_a_queue_that_is_being_reset_go_elsewhere(bench: Bench) -> None:
    """And nowhere while all are; so it is when the reset is over and the queue not set up again."""
    front, packet = await resettable(bench)
    transport = modern(front.device)
    for number in range(pairs_of(bench)):
        await transport.select(2 * (1 + number) % (2 * pairs_of(bench)))
        await transport.set_common("queue_reset", 1)
        await transport.common("queue_reset")  # the write has arrived, and the reset may be over or not
        bench.network.send(answered(packet))
        await bench.host.sleep(QUIET_NS)
        taken = [front.take(pair=pair) for pair in range(pairs_of(bench))]
        found = [got.data for got in taken if got is not None]
        more = number < pairs_of(bench) - 1
        same(found, [answered(packet)] * more, f"what came while {number + 1} queues are being reset")
    for pair in range(pairs_of(bench)):
        await front.device.reset_queue(2 * pair)
        await front.device.set_up_queue(2 * pair, 8)
    await stocked(bench, front, 2)
    same(
        [front.take(pair=pair) for pair in range(pairs_of(bench))],
        [None] * pairs_of(bench),
        "what comes late",
    )
    again = await flow(bench, front, 1)
    same(await comes_on(bench, front, answered(again)), 1, "the pair of an answer after all resets")
