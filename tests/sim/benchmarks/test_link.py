"""Limits of the link, against examples worked by hand."""

import pytest
from virtio_sim.benchmarks.link import Link, Traffic

GEN3_X8 = Link(8)


def test_eight_lanes_of_gen3_carry_31_and_a_half_bytes_per_cycle_of_250_mhz():
    # 8 lanes x 8 GT/s = 64 Gbit/s; x 128/130 = 63.015 Gbit/s = 7.8769 GB/s; / 250 MHz = 31.508 B
    assert GEN3_X8.bytes_per_cycle == pytest.approx(31.508, abs=5e-4)
    assert Link(4).bytes_per_cycle == pytest.approx(15.754, abs=5e-4)
    assert Link(1, gigatransfers=16, clock_mhz=125).bytes_per_cycle == pytest.approx(15.754, abs=5e-4)


def test_a_page_is_written_in_16_packets():
    # 16 x (256 + 12 + 8) = 4416 bytes
    assert GEN3_X8.write(4096) == Traffic(to_host=4416)
    assert 4096 / GEN3_X8.cycles(GEN3_X8.write(4096)) == pytest.approx(29.22, abs=0.005)


def test_smaller_payloads_cost_more():
    # 32 x (128 + 20) = 4736; 64 + 20 = 84
    link = Link(8, max_payload=128)
    assert 4096 / link.cycles(link.write(4096)) == pytest.approx(27.25, abs=0.005)
    assert 64 / link.cycles(link.write(64)) == pytest.approx(24.0, abs=0.01)


def test_a_page_is_read_with_8_requests_and_16_completions():
    assert GEN3_X8.read(4096) == Traffic(to_host=8 * 20, from_host=16 * 276)


def test_an_offset_takes_a_packet_more():
    # 4 bytes before a multiple of 256, then 15 whole ones, then 252 bytes
    assert GEN3_X8.write(4096, offset=252) == Traffic(to_host=4096 + 17 * 20)
    assert GEN3_X8.read(8, offset=508) == Traffic(to_host=2 * 20, from_host=8 + 2 * 20)


def test_both_ways_the_busier_direction_counts():
    # 4416 of the write and 160 of the read's requests one way, 4416 the other
    traffic = GEN3_X8.write(4096) + GEN3_X8.read(4096)
    assert traffic == Traffic(to_host=4576, from_host=4416)
    assert GEN3_X8.cycles(traffic * 2) == pytest.approx(2 * 4576 / 31.508, rel=1e-4)
