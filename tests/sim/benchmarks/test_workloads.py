"""Frames for many pairs of queues."""

from virtio_sim.benchmarks.workloads import FRAME, PAIRS, WORKLOADS, incoming


def test_each_pair_gets_frames_from_a_station_of_its_own_to_the_one_address():
    frames = incoming(127)
    assert {(len(frame), frame[:6], frame[12:14]) for frame in frames} == {
        (len(FRAME), bytes.fromhex("025600000001"), bytes.fromhex("88b5"))
    }
    assert len({frame[6:12] for frame in frames}) == len(frames)


def test_small_packets_go_both_ways_on_as_many_pairs_as_the_endpoint_has():
    for way, frames in (("out", False), ("in", True)):
        for pairs in PAIRS:
            work = WORKLOADS[f"packets {way}, {pairs} pairs"]
            assert (work.configuration.queues, work.frames) == (pairs, frames)
    assert WORKLOADS["packets in, 127 pairs"].configuration.virtqueues == 255
