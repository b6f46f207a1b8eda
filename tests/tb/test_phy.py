"""Framing of raw streams."""

import pytest
from cocotbext.virtio.phy import (
    MESSAGE_ADDRESS,
    Deframer,
    dwords_to_tlp,
    frame,
    message_to_tlp,
    tlp_to_dwords,
)
from helpers.tlp import config, memory_read, memory_write, message, raw_beats

PACKETS = {
    "3 dwords": memory_read(0x1000),
    "4 dwords": memory_read(1 << 40),
    "payload behind 3": memory_write(0x1000, range(17)),
    "payload behind 4": memory_write(1 << 40, range(32)),
}


def pack(beat: dict[str, int], width: int) -> int:
    lanes = width // 32
    flags = beat["enable"] | beat["first"] << lanes | beat["last"] << (lanes + 1)
    return beat["data"] | flags << width


def deframe(beats: list[int], width: int) -> tuple[list[list[int]], list[str]]:
    errors: list[str] = []
    deframer = Deframer(width, errors.append)
    packets = [packet for beat in beats if (packet := deframer.beat(beat)) is not None]
    return packets, errors


@pytest.mark.parametrize("width", [64, 128, 256, 512])
@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_packets_become_contiguous_beats_and_packets_again(packet, width):
    beats = frame(packet, width)
    assert beats == [pack(beat, width) for beat in raw_beats(packet, width)]
    assert deframe(beats * 2, width) == ([packet, packet], [])


def broken(**changes: int) -> list[int]:
    """Two beats of 64 bits with the second one changed."""
    first, second = raw_beats(memory_read(1 << 40), 64)
    return [pack(first, 64), pack(second | changes, 64)]


BROKEN = {
    "hole in the enables": (broken(enable=0b10), "not contiguous"),
    "no enables": (broken(enable=0), "not contiguous"),
    "start inside a packet": (broken(first=1), "starts inside another"),
    "partial beat before the end": (broken(enable=0b01, last=0), "not the last"),
    "no start": (broken()[1:], "without a first beat"),
    "end inside the header": ([pack(raw_beats(memory_read(0), 64)[0] | {"last": 1}, 64)], "shorter than its"),
}


@pytest.mark.parametrize(("beats", "complaint"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_framing_is_reported(beats, complaint):
    _, errors = deframe(beats, 64)
    assert any(complaint in error for error in errors)


@pytest.mark.parametrize("packet", [*PACKETS.values(), config(3, 0x55)])
def test_packets_survive_the_link_models_form(packet):
    assert tlp_to_dwords(dwords_to_tlp(packet)) == packet


@pytest.mark.parametrize("packet", [message(0x24, requester=0x0100), message(0x7F, [1, 2], requester=0x0100)])
def test_a_message_goes_up_as_a_write_of_its_code(packet):
    code = packet[1] & 0xFF
    assert tlp_to_dwords(message_to_tlp(packet)) == memory_write(MESSAGE_ADDRESS, [code], requester=0x0100)
