"""The network device: headers, checksums, filters, several buffers, several pairs."""

import random
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from virtio_models.flow import flow_of
from virtio_models.kind import Waiting
from virtio_models.net import BACKLOG, TABLE, Net, complete_checksum
from virtio_models.network import Network
from virtio_spec.virtio import feature_mask

MAC = bytes.fromhex("02aabbccddee")
CSUM, GUEST_CSUM, MRG_RXBUF, CTRL_VQ, CTRL_RX, MQ, CTRL_MAC_ADDR = 0, 1, 15, 17, 18, 22, 23
RNG = random.Random(1)


def device(*features: int, pairs: int = 1, **arguments: Any) -> Net:
    made = Net(Network(), mac=MAC, pairs=pairs, **arguments)
    made.accepted = feature_mask(*features)
    made.driver_ok = True
    made.in_use = lambda queue: True
    return made


def header(flags: int = 0, start: int = 0, offset: int = 0, buffers: int = 0) -> bytes:
    return bytes([flags, 0, 0, 0, 0, 0]) + b"".join(n.to_bytes(2, "little") for n in (start, offset, buffers))


def to(address: bytes, size: int = 60) -> bytes:
    return address + bytes(6) + b"\x12\x34" + bytes(size - 14)


def received(made: Net, *rooms: int, queue: int = 0) -> list[tuple[int, bytes]]:
    return made.serve(queue, [Waiting(b"", room) for room in rooms], RNG)


def control(made: Net, command: bytes) -> int:
    queue = 2 * made.pairs if made.accepted >> MQ & 1 else 2
    [(position, (ack,))] = made.serve(queue, [Waiting(command, 1)], RNG)
    assert position == 0
    return ack


def test_a_frame_is_sent_without_its_header_and_nothing_is_written_back():
    made = device()
    assert made.serve(1, [Waiting(header() + b"frame one, of some bytes", 0)], RNG) == [(0, b"")]
    assert made.network.sent == [b"frame one, of some bytes"]


@pytest.mark.parametrize("network", [IP(dst="10.0.0.2"), IPv6(dst="fd00::2")])
@pytest.mark.parametrize("segment", [TCP(dport=80), UDP(dport=53)])
@pytest.mark.parametrize("size", [0, 1, 18, 1001])
def test_a_partial_checksum_is_completed(network: Any, segment: Any, size: int):
    """Scapy computes the same packet's checksum on its own."""
    right = bytes(Ether(dst="02:00:00:00:00:02") / network / segment / bytes(range(256))[: size % 256])
    start = 14 + len(bytes(network))
    offset = 16 if isinstance(segment, TCP) else 6
    protocol = 6 if isinstance(segment, TCP) else 17
    ends = right[26:34] if right[12:14] == b"\x08\x00" else right[22:54]
    length = len(right) - start
    pseudo = ends + (bytes([0, protocol]) + length.to_bytes(2, "big"))
    total = sum(int.from_bytes(pseudo[n : n + 2], "big") for n in range(0, len(pseudo), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    partial = bytearray(right)
    partial[start + offset : start + offset + 2] = total.to_bytes(2, "big")
    made = device(CSUM)
    made.serve(1, [Waiting(header(1, start, offset) + bytes(partial), 0)], RNG)
    assert made.network.sent == [right]


def test_a_checksum_outside_the_frame_is_not_written():
    assert complete_checksum(bytes(20), 10, 9) is None
    assert complete_checksum(bytes(20), 10, 8) is not None


def test_without_the_feature_a_checksum_is_left_alone():
    """NET-DEV-017: and without NEEDS_CSUM too."""
    for features, flags in (((), 1), ((CSUM,), 0), ((CSUM,), 0xFE)):
        made = device(*features)
        made.serve(1, [Waiting(header(flags, 2, 4) + bytes(40), 0)], RNG)
        assert made.network.sent == [bytes(40)]


def test_a_frame_goes_into_one_buffer_behind_a_header():
    """NET-DEV-032, NET-DEV-036, NET-DEV-040."""
    made = device()
    made.receive(to(MAC), checked=True)
    assert received(made, 2000, 2000) == [(0, header(buffers=1) + to(MAC))]
    assert received(made, 2000) == []


def test_data_valid_only_says_what_was_checked():
    """NET-DEV-067, NET-DEV-068."""
    made = device(GUEST_CSUM)
    for checked in (True, False):
        made.receive(to(MAC), checked=checked)
        assert received(made, 2000) == [(0, header(2 if checked else 0, buffers=1) + to(MAC))]


def test_merged_buffers_are_full_but_the_last():
    """NET-DEV-031, NET-DEV-037 to NET-DEV-039: 12 + 100 bytes over buffers of 50, 40 and 60."""
    made = device(MRG_RXBUF)
    frame = to(MAC, 100)
    made.receive(frame)
    assert received(made, 50, 40) == []
    data = header(buffers=3) + frame
    assert received(made, 50, 40, 60, 9) == [(0, data[:50]), (1, data[50:90]), (2, data[90:])]


def test_without_merging_a_frame_that_does_not_fit_is_lost():
    made = device()
    made.receive(to(MAC, 200))
    made.receive(to(MAC, 60))
    assert received(made, 100, 1000) == [(0, header(buffers=1) + to(MAC, 60))]
    assert made.lost == 1


def test_frames_wait_for_buffers_up_to_a_number():
    made = device()
    for _ in range(BACKLOG + 3):
        made.receive(to(MAC))
    assert made.lost == 3


def test_frames_before_driver_ok_are_lost():
    made = device()
    made.driver_ok = False
    made.receive(to(MAC))
    assert received(made, 2000) == []


def test_what_comes_on_the_cable_is_received_unless_it_is_damaged_or_too_long():
    """NET-DEV-006: the MTU and an Ethernet header with a tag."""
    made = device(GUEST_CSUM, mtu=100)
    network = made.network
    network.send(to(MAC, 118), checked=True)
    network.send(to(MAC, 119))
    network.send(to(MAC, 60), error=True)
    network.send(to(MAC, 61))
    expected = [header(2, buffers=1) + to(MAC, 118), header(buffers=1) + to(MAC, 61)]
    assert [received(made, 2000), received(made, 2000), received(made, 2000)] == [
        [(0, expected[0])],
        [(0, expected[1])],
        [],
    ]
    assert network.take() is None


def test_an_answer_comes_back():
    made = device()
    made.network.respond = lambda frame: [MAC + frame[6:]]
    made.serve(1, [Waiting(header() + to(OTHER), 0)], RNG)
    assert received(made, 2000) == [(0, header(buffers=1) + to(MAC))]


def test_a_change_of_the_link_is_told_once():
    made = device()
    told: list[bytes] = []
    made.changed = lambda: told.append(made.config())
    made.network.send(to(MAC))
    assert not told
    made.network.set_link(True, 40_000)
    assert not told, "NET-DEV-013"
    made.network.set_link(False)
    made.network.set_link(True, 1000)
    assert [config[6] for config in told] == [0, 1]
    assert told[1][12:16] == (1000).to_bytes(4, "little")


def test_without_mq_the_control_queue_comes_behind_the_first_pair():
    """NET-DEV-P02."""
    promiscuous = Waiting(bytes([0, 0, 1]), 1)
    for features, number in (((CTRL_VQ, CTRL_RX), 2), ((CTRL_VQ, CTRL_RX, MQ), 6)):
        made = device(*features, pairs=3)
        assert made.queues == 7
        assert made.serve(number, [promiscuous], RNG) == [(0, b"\0")]
    made = device(CTRL_VQ, CTRL_RX, pairs=3)
    assert [made.serve(number, [promiscuous], RNG) for number in (3, 4, 5, 6)] == [[]] * 4
    assert made.network.sent == [] and not made.promiscuous


OTHER, GROUP, EVERYONE = bytes.fromhex("020000000009"), bytes.fromhex("0100 5e00 0001"), b"\xff" * 6


def passes(made: Net, address: bytes) -> bool:
    made.receive(to(address))
    return bool(received(made, 2000))


def test_only_frames_for_this_station_pass_the_filter():
    """NET-DEV-099, NET-DEV-102."""
    made = device(CTRL_VQ, CTRL_RX)
    assert [passes(made, address) for address in (MAC, EVERYONE, OTHER, GROUP)] == [True, True, False, False]
    assert all(passes(device(), address) for address in (OTHER, GROUP))


def test_receive_modes_open_the_filter():
    """NET-DEV-086 to NET-DEV-089."""
    made = device(CTRL_VQ, CTRL_RX)
    assert control(made, bytes([0, 1, 1])) == 0
    assert (passes(made, GROUP), passes(made, OTHER)) == (True, False)
    assert control(made, bytes([0, 0, 1])) == 0
    assert passes(made, OTHER)
    assert control(made, bytes([0, 1, 0])) == control(made, bytes([0, 0, 0])) == 0
    assert not passes(made, GROUP) and not passes(made, OTHER)


def table(*addresses: bytes) -> bytes:
    return len(addresses).to_bytes(4, "little") + b"".join(addresses)


def test_filter_tables_let_their_addresses_pass():
    """NET-DEV-100."""
    made = device(CTRL_VQ, CTRL_RX)
    assert control(made, b"\x01\x00" + table(OTHER) + table(GROUP)) == 0
    assert passes(made, OTHER) and passes(made, GROUP) and passes(made, MAC)
    assert not passes(made, b"\x02" + bytes(5)) and not passes(made, b"\x01" + bytes(5))
    assert control(made, b"\x01\x00" + table() + table()) == 0
    assert not passes(made, OTHER) and not passes(made, GROUP)


def test_more_addresses_than_a_table_holds_open_the_filter():
    made = device(CTRL_VQ, CTRL_RX)
    many = [bytes([1, 0, 0, 0, 0, n]) for n in range(TABLE + 1)]
    assert control(made, b"\x01\x00" + table() + table(*many)) == 0
    assert passes(made, many[-1]) and passes(made, GROUP) and not passes(made, OTHER)


def test_the_address_can_be_set():
    """NET-DEV-101."""
    made = device(CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR)
    assert control(made, b"\x01\x01" + OTHER) == 0
    assert made.config()[:6] == OTHER
    assert passes(made, OTHER) and not passes(made, MAC)
    made.reset()
    assert made.config()[:6] == MAC


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x00\x02",
        b"\x00\x00\x01\x01",
        b"\x00\x07\x01",
        b"\x01\x00" + table(OTHER),
        b"\x01\x00" + table(OTHER) + (2).to_bytes(4, "little") + GROUP,
        b"\x01\x00" + table() + table() + b"x",
        b"\x01\x01" + OTHER[:5],
        b"\x01\x02" + OTHER,
        b"\x04\x00\x00\x00",
        b"\x04\x00\x05\x00",
        b"\x04\x00\x01",
        b"\x04\x01\x01\x00",
        b"\x02\x00\x01\x00",
        b"\xff\x00\x00",
    ],
)
def test_a_bad_command_is_refused_and_changes_nothing(command: bytes):
    made = device(CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR, MQ, pairs=4)
    assert control(made, command) == 1
    assert passes(made, MAC) and not passes(made, OTHER) and not passes(made, GROUP)
    assert made.active == 1


def test_a_command_needs_its_feature():
    made = device(CTRL_VQ, pairs=2)
    for command in (
        b"\x00\x00\x01",
        b"\x01\x00" + table() + table(),
        b"\x01\x01" + OTHER,
        b"\x04\x00\x02\x00",
    ):
        assert control(made, command) == 1


def udp(source: int, target: int) -> bytes:
    ends = {"src": f"10.0.0.{source}", "dst": f"10.0.0.{target}"}
    return bytes(Ether(dst=MAC.hex(":")) / IP(**ends) / UDP(sport=1000 + source, dport=1000 + target))


def test_a_flow_comes_back_where_it_was_sent():
    """NET-DEV-109 to NET-DEV-113."""
    made = device(CTRL_VQ, MQ, pairs=4)
    made.serve(2 * 2 + 1, [Waiting(header() + udp(7, 8), 0)], RNG)
    made.receive(udp(8, 7))
    assert received(made, 2000, queue=0) != []  # one pair is active after a reset
    assert control(made, b"\x04\x00\x04\x00") == 0
    made.receive(udp(8, 7))
    assert [bool(received(made, 2000, queue=2 * pair)) for pair in range(4)] == [False, False, True, False]
    made.receive(udp(8, 9))
    assert [bool(received(made, 2000, queue=2 * pair)) for pair in range(4)] == [True, False, False, False]


def test_a_queue_that_is_not_in_use_is_avoided():
    """NET-DEV-114, NET-DEV-115."""
    made = device(CTRL_VQ, MQ, pairs=2)
    assert control(made, b"\x04\x00\x02\x00") == 0
    made.in_use = lambda queue: queue == 2
    made.receive(udp(8, 7))
    assert received(made, 2000, queue=2) != []
    made.in_use = lambda queue: False
    made.receive(udp(8, 7))
    assert received(made, 2000, queue=0) == received(made, 2000, queue=2) == []


@pytest.mark.parametrize("tag", [[], [Dot1Q(vlan=5)]])
def test_both_directions_of_a_conversation_are_one_flow(tag: list[Any]):
    def frame(*, swap: bool, port: int = 1, last: int = 2, kind: Any = TCP, ip: Any = IP) -> bytes:
        ends = ("fd00::1", f"fd00::{last}") if ip is IPv6 else ("10.0.0.1", f"10.0.0.{last}")
        ports = (port, 9)
        if swap:
            ends, ports = ends[::-1], ports[::-1]
        made = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        for layer in tag:
            made = made / layer
        return bytes(made / ip(src=ends[0], dst=ends[1]) / kind(sport=ports[0], dport=ports[1]))

    variants: list[dict[str, Any]] = [{}, {"port": 2}, {"last": 3}, {"kind": UDP}, {"ip": IPv6}]
    flows = [flow_of(frame(swap=False, **variant)) for variant in variants]
    assert flows == [flow_of(frame(swap=True, **variant)) for variant in variants]
    assert len(set(flows)) == len(variants)


def test_the_configuration_has_its_fields():
    made = Net(Network(), mac=MAC, pairs=3, mtu=9000)
    made.network.set_link(False)
    made.network.set_link(False, 25_000)
    assert made.config() == bytes.fromhex("02aabbccddee 0000 0300 2823 a8610000 01 00 0000 00000000 00000000")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mac": b"\x01" + bytes(5)}, "unicast"), ({"mtu": 67}, "mtu 68"), ({"pairs": 0}, "pairs is 1")],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Net(Network(), **arguments)
