"""The front end of a network device."""

import pytest
from cocotbext.virtio.backends.model import ModelHost, run
from cocotbext.virtio.devices.net import CommandRefused, Received, VirtioNet, address_table, offloaded
from cocotbext.virtio.driver import probe
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.host import HostTimeout
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from virtio_models.net import Net
from virtio_models.network import Network
from virtio_spec.net import NetFeature, NetHdrFlag

MAC = bytes.fromhex("02aabbccddee")
ECHO = bytes(Ether(dst=MAC.hex(":"), src="02:00:00:00:00:01") / IP(dst="10.0.0.1") / UDP() / b"hello, world")


async def front_of(kind, *, features=None):
    host = ModelHost(kind, queue_size=16, seed=3)
    found = await probe(host)
    await found.start(features=features)
    return VirtioNet(found)


def net(kind=Net, **options):
    network = Network()
    return kind(network, mac=MAC, **options), network


def test_octets_and_packets_are_sent_alike():
    kind, network = net()

    async def main():
        front = await front_of(kind)
        packet = Ether(dst="02:00:00:00:00:02") / IP(dst="10.0.0.2") / UDP() / b"data"
        await front.send(packet)
        await front.send(bytes(packet), cuts=(1, 12, 20))
        assert network.sent == [bytes(packet)] * 2

    run(main())


def test_a_frame_received_is_octets_and_layers():
    kind, network = net()

    async def main():
        front = await front_of(kind)
        await front.post(2000)
        assert front.take() is None
        network.send(ECHO, checked=True)
        found = await front.receive()
        assert found == Received(ECHO, NetHdrFlag.DATA_VALID, 1)
        assert found.packet[UDP].payload.load == b"hello, world"

    run(main())


def test_frames_are_put_together_from_merged_buffers():
    kind, network = net()

    async def main():
        front = await front_of(kind)
        await front.post(30, (7, 13), 20, 20)
        network.send(ECHO)
        found = await front.receive()
        assert (found.data, found.buffers) == (ECHO, 3)

    run(main())


def test_waiting_for_a_frame_ends():
    kind, _ = net()

    async def main():
        front = await front_of(kind)
        await front.post(2000)
        with pytest.raises(HostTimeout, match="nothing after 5000 ns"):
            await front.receive(timeout_ns=5000)

    run(main())


@pytest.mark.parametrize("network", [IP(dst="10.0.0.2"), IPv6(dst="fd00::2")])
@pytest.mark.parametrize(("segment", "offset"), [(TCP(dport=80), 16), (UDP(dport=53), 6)])
def test_a_checksum_that_is_left_to_the_device_is_the_sum_of_the_pseudo_header(network, segment, offset):
    """RFC 1071: with all of the segment added it is the number that the right checksum complements."""
    packet = Ether(dst="02:00:00:00:00:02") / network / segment / bytes(range(33))
    frame, start, found = offloaded(packet)
    right = bytes(packet)
    assert (start, found) == (14 + len(bytes(network)), offset)
    at = start + offset
    assert frame[:at] + right[at : at + 2] + frame[at + 2 :] == right
    octets = frame[start:] + bytes(len(frame[start:]) % 2)
    total = sum(int.from_bytes(octets[n : n + 2], "big") for n in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert (~total & 0xFFFF).to_bytes(2, "big") == right[at : at + 2]


def test_a_packet_without_a_checksum_to_leave_is_refused():
    with pytest.raises(ValueError, match="there is neither UDP nor TCP"):
        offloaded(Ether(dst="02:00:00:00:00:02") / IP(dst="10.0.0.2"))


def test_a_checksum_left_to_the_driver_is_completed():
    """DEV-054, DEV-055: with GUEST_CSUM a device may leave it."""
    partial, start, offset = offloaded(Ether(ECHO))

    class LeavesIt(Net):
        def _deliver(self, backlog, rooms):
            found = super()._deliver(backlog, rooms)
            where = start.to_bytes(2, "little") + offset.to_bytes(2, "little")
            return [(n, b"\1" + data[1:6] + where + data[10:12] + partial) for n, data in found]

    kind, network = net(LeavesIt)

    async def main():
        front = await front_of(kind)
        await front.post(2000)
        network.send(ECHO)
        assert (await front.receive()) == Received(ECHO, NetHdrFlag.NEEDS_CSUM, 1)

    run(main())


def test_commands_are_carried_out():
    kind, _ = net(pairs=4)

    async def main():
        front = await front_of(kind)
        await front.set_promiscuous(True)
        await front.set_all_multicast(True)
        await front.set_filter([b"\2abcde"], [b"\3abcde", b"\3fghij"])
        await front.set_address(b"\2vwxyz")
        await front.set_pairs(3)
        assert (kind.promiscuous, kind.all_multicast, kind.active) == (True, True, 3)
        assert (kind.unicast, kind.multicast) == ({b"\2abcde"}, {b"\3abcde", b"\3fghij"})
        assert await front.address() == kind.mac == b"\2vwxyz"
        assert (await front.control_queue(), await front.most_pairs()) == (8, 4)
        with pytest.raises(CommandRefused, match="the answer to command 0 of class 4 is 1"):
            await front.set_pairs(5)

    run(main())


def test_a_table_has_its_length_in_front():
    assert address_table([b"\2abcde", b"\2fghij"]) == b"\2\0\0\0\2abcde\2fghij"


def test_frames_of_all_pairs_are_kept_apart():
    kind, network = net(pairs=2)

    async def main():
        front = await front_of(kind)
        await front.set_pairs(2)
        for pair in (0, 1):
            await front.post(2000, pair=pair)
        other = Ether(src=MAC.hex(":"), dst="02:00:00:00:00:01") / IP(src="10.0.0.1") / UDP() / b"x"
        other[IP].src, other[IP].dst = Ether(ECHO)[IP].dst, Ether(ECHO)[IP].src
        await front.send(other, pair=1)
        network.send(ECHO)
        assert (await front.receive(pair=1)).data == ECHO
        assert front.take() is None

    run(main())


def faulty(change):
    """A device that does this to what goes into buffers."""

    class Faulty(Net):
        def _deliver(self, backlog, rooms):
            return change(super()._deliver(backlog, rooms))

    return Faulty


def header(at, value):
    return lambda found: [
        (n, data[:at] + value + data[at + len(value) :] if n == 0 else data) for n, data in found
    ]


@pytest.mark.parametrize(
    ("change", "without", "message"),
    [
        (header(10, b"\0"), (), "num_buffers is 0"),
        (header(10, b"\3"), (), "1 of the 3 buffers of a frame are there"),
        (header(10, b"\2"), (NetFeature.MRG_RXBUF,), "num_buffers is 2"),
        (header(0, b"\2"), (NetFeature.GUEST_CSUM,), "flags are 0x2 although"),
        (header(0, b"\4"), (), "flags are 0x4, of which"),
        (header(0, b"\x0a"), (), "flags are 0xa, of which"),
        (header(1, b"\1"), (), "gso_type is 1"),
        (header(0, b"\1\0\0\0\0\0\xff"), (), "lies outside of the frame"),
        (lambda found: [(n, data[:11]) for n, data in found], (), "begins with a buffer of 11 bytes"),
    ],
)
def test_a_device_that_gets_it_wrong_is_told(change, without, message):
    kind, network = net(faulty(change))

    async def main():
        front = await front_of(kind, features=~sum(1 << feature for feature in without))
        await front.post(2000)
        network.send(ECHO)
        with pytest.raises(DriverError, match=message):
            await front.receive()

    run(main())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: [(n, data[: 20 + 10 * n]) for n, data in found], "is not full"),
        (lambda found: found[:1] + [(1, b"")] if len(found) > 1 else found, "has nothing of it"),
    ],
)
def test_merged_buffers_that_are_not_filled_are_told(change, message):
    kind, network = net(faulty(change))

    async def main():
        front = await front_of(kind)
        await front.post(40, 40)
        network.send(ECHO)
        with pytest.raises(DriverError, match=message):
            await front.receive()

    run(main())


def test_an_ack_that_is_not_counted_is_told():
    class Silent(Net):
        def _control(self, command):
            return b""

    kind, _ = net(Silent)

    async def main():
        front = await front_of(kind)
        with pytest.raises(DriverError, match="used length 0 does not cover the ack"):
            await front.set_promiscuous(True)

    run(main())


def test_an_address_is_read_octet_by_octet():
    """VIRTIO 1.4 §4.1.3.1: six fields of 8 bits."""
    kind, _ = net()

    async def main():
        front = await front_of(kind)
        sizes = []
        read = front.device.host.bar_read

        async def seen(bar, offset, size):
            sizes.append(size)
            return await read(bar, offset, size)

        front.device.host.bar_read = seen
        assert await front.address() == MAC
        assert sizes.count(1) >= 6 and set(sizes) == {1}

    run(main())
