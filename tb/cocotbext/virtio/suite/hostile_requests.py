"""A driver that asks a device of some type for what it must not."""

from collections.abc import Sequence
from functools import partial

from virtio_spec import net, wire
from virtio_spec.blk import ID_BYTES, SECTOR_BYTES, BlkReqHeader, BlkReqType
from virtio_spec.net import CtrlClass, CtrlMac, CtrlMq, CtrlRx, NetConfig, NetFeature, NetGso, NetHeader
from virtio_spec.virtio import Feature

from ..devices.blk import VirtioBlk
from ..devices.net import HEADER_BYTES, VirtioNet
from .helpers import ROOM, exercise, same, settle
from .hostile_setup import SURVIVES
from .net import ETHERNET, answered, flow, frame, left, pairs_of, segment, station, without
from .registry import LEGACY, Bench, case

__all__: list[str] = []

blk_case = partial(case, devices=("blk",), proves=SURVIVES)
net_case = partial(case, devices=("net",), proves=SURVIVES)
several_pairs = partial(net_case, profile="queues", needs=("pairs",))

#: Bits of ``virtio_net_hdr.flags``.
NEEDS_CSUM, DATA_VALID, RSC_INFO, TUNNEL_CSUM = 1, 2, 4, 8
TUNNEL_4, TUNNEL_6 = net.GSO_UDP_TUNNEL_IPV4, net.GSO_UDP_TUNNEL_IPV6


# -- block -----------------------------------------------------------------------------------------------


@blk_case(breaks=("BLK-DRV-14",))
async def flushes_name_a_sector(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start())
    for sector in (1, bench.disk.capacity, 2**64 - 1):
        await blk.request(BlkReqType.FLUSH, sector)
    await exercise(bench, blk.device)


@blk_case(breaks=("BLK-DRV-18",))
async def the_serial_number_gets_another_buffer(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start())
    for room in (0, 1, ID_BYTES - 1, ID_BYTES + 1, SECTOR_BYTES):
        await blk.request(BlkReqType.GET_ID, 0, room=room)
    await exercise(bench, blk.device)


@blk_case(transports=LEGACY, breaks=("BLK-LEG-DRV-03",))
async def a_request_has_another_byte_order(bench: Bench) -> None:
    """Read like that, it is of a type that does not exist, or of a sector that does not."""
    device = await bench.start()
    before = bytes(bench.disk.data)
    for type, sector in ((BlkReqType.OUT, 0), (BlkReqType.IN, 3), (BlkReqType.FLUSH, 0)):
        raw = wire.pack(BlkReqHeader, type=type, sector=sector)
        header = raw[3::-1] + raw[7:3:-1] + raw[:7:-1]
        request = await device.submit(0, [header, bytes(SECTOR_BYTES)], [1])
        await device.wait(request)
    if type == BlkReqType.IN:
        same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    await exercise(bench, device)


@blk_case(transports=LEGACY, breaks=("BLK-LEG-DRV-10",))
async def requests_are_cut_anywhere_without_any_layout(bench: Bench) -> None:
    """A device that knows the feature understands them all the same, or says that it does not."""
    blk = VirtioBlk(await bench.start(features=~(1 << Feature.ANY_LAYOUT)))
    for cuts in ((3, 16, 40), (16 + SECTOR_BYTES - 1,), (8,)):
        await blk.request(BlkReqType.OUT, 2, bytes(SECTOR_BYTES), framing=(cuts, (1,)))
    await exercise(bench, blk.device)


# -- network: frames -------------------------------------------------------------------------------------


async def sent_amid(bench: Bench, front: VirtioNet, bad: Sequence[bytes]) -> None:
    """Send what is not right between frames that are: those leave, in order."""
    good = []
    for each in bad:
        await front.device.wait(await front.device.submit(1, [each[:HEADER_BYTES], each[HEADER_BYTES:]]))
        good.append(frame(bench, station(bench)))
        await front.send(good[-1])
    while good[-1] not in bench.network.sent:
        await left(bench, len(bench.network.sent) + 1)
    same([found for found in bench.network.sent if found in good], good, "the frames that were right")


@net_case(
    breaks=(
        *(f"NET-DRV-{number:03}" for number in (18, 23, 25, 27, 29, 33, 36, 38, 39, 40, 41, 42, 44, 45, 46)),
        *(f"NET-DRV-{number:03}" for number in (47, 58, 59, 61, 62)),
    )
)
async def headers_ask_for_what_was_not_negotiated(bench: Bench) -> None:
    """Segments, tunnels, checksums from anywhere to anywhere, flags that are the device's."""
    front = VirtioNet(await bench.start())
    whole = bytes(segment(bench, station(bench), 60))
    kinds = [NetGso.TCPV4, NetGso.TCPV6, NetGso.UDP, NetGso.UDP_L4, TUNNEL_4, TUNNEL_6, TUNNEL_4 | TUNNEL_6]
    kinds += [TUNNEL_4 | NetGso.TCPV4, TUNNEL_6 | NetGso.UDP, 0x80, 0xFF]
    headers = [{"gso_type": kind, "gso_size": size} for kind in kinds for size in (0, 20)]
    flags = [RSC_INFO, DATA_VALID, TUNNEL_CSUM, NEEDS_CSUM | TUNNEL_CSUM, 0xFF]
    headers += [{"flags": value, "csum_start": 34, "csum_offset": 6} for value in flags]
    headers += [{"flags": DATA_VALID, "gso_type": TUNNEL_4 | NetGso.TCPV4, "gso_size": 20}]
    headers += [
        {"flags": NEEDS_CSUM, "csum_start": start, "csum_offset": offset}
        for start, offset in ((0, 0), (34, 0xFFFF), (0xFFFF, 0xFFFF), (len(whole), 0), (len(whole) - 1, 0))
    ]
    headers += [{"num_buffers": count} for count in (1, 0xFFFF)]
    chosen = bench.rng.sample(headers, len(headers))
    await sent_amid(bench, front, [wire.pack(NetHeader, **fields) + whole for fields in chosen])


@net_case(breaks=("NET-DRV-019",))
async def headers_have_flags_without_csum(bench: Bench) -> None:
    front = VirtioNet(await bench.start(features=without(NetFeature.CSUM)))
    whole = bytes(segment(bench, station(bench), 60))
    bad = [wire.pack(NetHeader, flags=flags, csum_start=34, csum_offset=6) + whole for flags in (1, 2, 0xFF)]
    await sent_amid(bench, front, bad)


@net_case(breaks=("NET-DRV-009", "NET-DRV-017", "NET-DRV-068"))
async def frames_are_too_long_and_headers_too_short(bench: Bench) -> None:
    front = VirtioNet(await bench.start())
    mtu = (await front.device.transport.config(NetConfig, "mtu")).mtu
    bad = [bytes(HEADER_BYTES) + frame(bench, station(bench), mtu + ETHERNET + more) for more in (5, 700)]
    bad += [bytes(HEADER_BYTES + 1), bytes(HEADER_BYTES + 8) + frame(bench, station(bench))]
    await sent_amid(bench, front, bad)
    for length in (1, 10, HEADER_BYTES - 1, HEADER_BYTES):
        await front.device.wait(await front.device.submit(1, [bytes(length)]))
    await exercise(bench, front.device)


@net_case(breaks=("NET-DRV-008", "NET-DRV-067"))
async def buffers_are_too_small_for_frames(bench: Bench) -> None:
    """For any, with merged buffers even for a header; what does not fit is lost, and nothing is overrun."""
    for features in (without(NetFeature.MRG_RXBUF), ~0):
        front = VirtioNet(await bench.start(features=features))
        address = await front.address()
        for room in (1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 20):
            front.device.prepare(0, [], [room])
        await front.device.kick(0)
        await settle(bench)
        for size in (60, 400):
            bench.network.send(frame(bench, address, size))
        await settle(bench)
        await front.device.reset()


# -- network: commands -----------------------------------------------------------------------------------


@net_case(breaks=tuple(f"NET-DRV-{number:03}" for number in (83, 87, 90, 102, 107, 112, 113)))
async def commands_are_unknown_or_of_features_that_are_not_there(bench: Bench) -> None:
    """Extra modes, hashes, contexts of them, coalescing, tunnels; and tables that are not what they say."""
    front = VirtioNet(await bench.start())
    table = (2).to_bytes(4, "little") + bytes(12)
    wrong = [(CtrlClass.RX, command, b"\1") for command in (CtrlRx.ALLUNI, CtrlRx.NOBCAST)]
    wrong += [(CtrlClass.MQ, 1, bytes(20)), (CtrlClass.MQ, 2, bytes(16)), (9, 1, bytes(24)), (7, 0, bytes(8))]
    wrong += [(6, command, bytes(8)) for command in range(4)]
    wrong += [
        (CtrlClass.MAC, CtrlMac.TABLE_SET, data)
        for data in (b"", table, table + bytes(3), table + table + b"\0", b"\xff" * 4 + bytes(60))
    ]
    for ctrl_class, command, data in wrong:
        found = await front.command(ctrl_class, command, data)
        same(found, net.ACK_ERR, f"the answer to command {command} of class {ctrl_class}")
    await exercise(bench, front.device)


@net_case(breaks=("NET-DRV-086", "NET-DRV-088"))
async def filters_are_set_without_their_feature(bench: Bench) -> None:
    front = VirtioNet(await bench.start(features=without(NetFeature.CTRL_RX, NetFeature.CTRL_MAC_ADDR)))
    for ctrl_class, command, data in (
        (CtrlClass.RX, CtrlRx.PROMISC, b"\1"),
        (CtrlClass.RX, CtrlRx.ALLMULTI, b"\1"),
        (CtrlClass.MAC, CtrlMac.TABLE_SET, bytes(8)),
        (CtrlClass.MAC, CtrlMac.ADDR_SET, station(bench)),
    ):
        found = await front.command(ctrl_class, command, data)
        same(found, net.ACK_ERR, f"the answer to command {command} of class {ctrl_class}")
    await exercise(bench, front.device)


@several_pairs(breaks=("NET-DRV-098", "NET-DRV-099", "NET-DRV-100"))
async def pairs_are_used_that_are_not_in_use(bench: Bench) -> None:
    """Frames on them may leave or not; numbers of pairs that cannot be are refused."""
    front = VirtioNet(await bench.start())
    most = pairs_of(bench)
    for count in (0, most + 1, 0x8001, 0xFFFF):
        found = await front.command(CtrlClass.MQ, CtrlMq.VQ_PAIRS_SET, count.to_bytes(2, "little"))
        same(found, net.ACK_ERR, f"the answer to {count} pairs")
    request = front.prepare(frame(bench, station(bench)), pair=most - 1)
    await front.device.kick(2 * most - 1)
    await settle(bench)
    if request.done:
        same(request.used, 0, "used length of a frame sent")
    await front.send(frame(bench, station(bench)))


@several_pairs(breaks=("NET-DRV-097",))
async def pairs_are_put_to_use_that_have_no_queues(bench: Bench) -> None:
    """The answer to a flow that was sent on one comes on another, or not at all."""
    most = pairs_of(bench)
    front = VirtioNet(await bench.start(queues={0: 8, 1: 8, 2 * most: 8}))
    await front.command(CtrlClass.MQ, CtrlMq.VQ_PAIRS_SET, most.to_bytes(2, "little"))
    await front.post(ROOM, ROOM)
    await settle(bench)
    packet = await flow(bench, front, 0)
    bench.network.send(answered(packet))
    await settle(bench)
    for pair in range(1, most):
        await front.device.transport.notify(2 * pair)
        await front.device.transport.notify(2 * pair + 1)
    await settle(bench)
