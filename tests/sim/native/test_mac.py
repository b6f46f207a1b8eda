"""The MAC in the shared library, before a device that sends back every frame it gets."""

import random
import zlib

import pytest
from cocotbext.virtio.backends.native_ports import serve_network
from helpers.native import loop_library
from virtio_models.network import Network
from virtio_sim.native.library import Event, LinkModel, NativeEndpoint

WIDTHS = [64, 128, 256]
PATIENCE = 100_000
SPEED = 10_000  # Mbit/s: 5 octets in a cycle of 4 ns
BETWEEN = 24  # octets on a cable that belong to no frame: preamble, check sequence, gap
GAP = "a gap in a frame of the device"
FIRST, LAST, DAMAGED, CHECKED, LANE = (1 << bit for bit in (28, 29, 30, 31, 27))


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


def looped(width=64, **link):
    """A device and what is on its cable."""
    device, network = NativeEndpoint(loop_library(width), link=LinkModel(**link)), Network()
    serve_network(device, network)
    return device, network


def settle(device):
    assert Event.QUIET in device.run(PATIENCE, stop_at=Event.QUIET, quiet=10)


def frames(*sizes):
    rng = random.Random(1)
    return [rng.randbytes(size) for size in sizes]


@pytest.mark.parametrize("stall", [0, 500, 900])
def test_frames_of_every_length_pass_in_order_and_whole(width, stall):
    device, network = looped(width, stall=stall, seed=3)
    sent = frames(*range(1, 70), 1514, 1518, 9018)
    for frame in sent:
        network.send(frame)
    settle(device)
    assert network.sent == sent
    # Pauses in what the device gets are gaps in what it sends.
    assert set(device.findings()) == ({GAP} if stall else set())
    assert device.sent() == (len(sent), sum(map(len, sent)), zlib.crc32(b"".join(sent)))


def test_frames_come_as_fast_as_the_cable_is(width):
    device, network = looped(width)
    for frame in frames(1000 - BETWEEN, 500 - BETWEEN, 64):
        network.send(frame)
    came = []
    while len(came) < 3:
        device.run(PATIENCE, stop_at=Event.SENT)
        came.append(device.cycles)
    beats = [-(-size * 8 // width) for size in (1000 - BETWEEN, 500 - BETWEEN, 64)]
    begins = [cycle - count for cycle, count in zip(came, beats, strict=True)]
    assert [later - begin for begin, later in zip(begins, begins[1:], strict=False)] == [200, 100]


def test_what_answers_sends_its_answers_back():
    device, network = looped()
    [question, answer] = frames(60, 61)
    network.respond = lambda frame: [answer] if frame == question else []
    network.send(question)
    settle(device)
    assert network.sent == [question, answer]


def test_a_frame_that_comes_while_nothing_moves_is_taken_and_keeps_the_clock_going():
    device, network = looped()
    settle(device)
    for frame in frames(60, 1514):
        network.send(frame)
        settle(device)
        assert network.sent[-1] == frame


def test_what_is_taken_off_the_cable_does_not_come():
    device, network = looped()
    for frame in frames(1514, 60):
        network.send(frame)
    device.run(20)  # in the midst of the first one
    network.heal()
    settle(device)
    assert [len(frame) for frame in network.sent] == [1514]


def test_a_damaged_frame_is_told_with_its_last_beat_and_goes_no_further(width):
    device, network = looped(width)
    [damaged, good] = frames(100, 101)
    network.send(damaged, error=True)
    network.send(good)
    settle(device)
    assert network.sent == [good]
    assert device.findings() == []


def test_a_reset_ends_what_is_under_way():
    device, network = looped()
    [cut, whole] = frames(1514, 60)
    network.send(cut)
    device.run(20)
    device.reset()
    network.send(whole)
    settle(device)
    assert network.sent == [whole]
    assert device.findings() == []


def test_frames_that_wait_during_a_reset_come_after_it():
    device, network = looped()
    cut, *waiting = frames(1514, 60, 61)
    for frame in (cut, *waiting):
        network.send(frame)
    device.run(20)
    device.reset()
    settle(device)
    assert network.sent == waiting


BROKEN = {
    "first": (FIRST, "a frame without a first beat"),
    "last": (LAST, "a beat of a frame that is not full and not the last"),
    "damaged": (DAMAGED, "a flag that does not belong on a beat"),
    "checked": (CHECKED, "a flag that does not belong on a beat"),
    "lane": (LANE, "lanes that are not contiguous from lane 0"),
}


@pytest.mark.parametrize(("flip", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_of_the_stream_is_found(width, flip, sentence):
    device, network = looped(width)
    network.set_link(True, SPEED | flip)
    network.send(bytes(100))
    settle(device)
    assert sentence in device.findings()


def test_a_frame_with_a_gap_in_it_is_found():
    device, network = looped()
    network.send(bytes(1514))
    device.run(20)
    network.set_link(False)
    device.run(5)
    assert set(device.findings()) == {GAP}


def test_a_frame_that_is_offered_and_withdrawn_is_found():
    device, network = looped(stall=999, seed=1)
    network.send(bytes(8))
    found = []
    while not found and device.cycles < PATIENCE:
        network.set_link(not network.link_up)
        device.run(50)
        found = device.findings()
    assert set(found) == {"a frame of the device is withdrawn"}


def test_traffic_of_its_own_is_numbered_and_keeps_its_distance(width):
    device, network = looped(width)
    [frame] = frames(64)
    device.traffic(frame, 5, period=40)
    settle(device)
    assert network.sent == [frame[:-4] + number.to_bytes(4, "little") for number in range(5)]
    device.traffic(frame, 100)
    start = device.cycles
    settle(device)
    assert device.cycles - start < 100 * (512 // width) + 20
    assert device.sent()[0] == 105
    with pytest.raises(ValueError, match="a frame of 3 octets has no place for a number"):
        device.traffic(b"abc", 1)
