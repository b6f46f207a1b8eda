"""Endpoints in shared libraries: accesses, what is behind the devices, time, and that runs repeat."""

import random

import pytest
from cocotbext.virtio.backends.native import run
from cocotbext.virtio.devices.blk import VirtioBlk
from cocotbext.virtio.devices.rng import VirtioRng
from cocotbext.virtio.host import BusError, HostTimeout
from helpers.native import BLK, BLK_TRANSITIONAL, RNG, VMMCI, endpoint_library
from virtio_models.clock import Clock
from virtio_models.disk import Disk
from virtio_sim import build
from virtio_sim.build import native_library
from virtio_sim.hdl import generate
from virtio_sim.native.bring_up import bring_up
from virtio_sim.native.library import LinkModel
from virtio_spec.pci import ConfigOffset
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand

SECTORS = 64


def bench(configuration, **options):
    return run(bring_up(endpoint_library(configuration), configuration, **options))


def disk(seed=1):
    return Disk(random.Random(seed).randbytes(512 * SECTORS))


def read_all(bench_, content):
    """Read the whole disk in pieces."""

    async def go():
        blk = VirtioBlk(await bench_.start())
        for sector in range(0, SECTORS, 8):
            assert await blk.read(sector, 8) == content[512 * sector : 512 * (sector + 8)]

    run(go())


def test_nothing_is_built_twice(monkeypatch):
    made = endpoint_library(RNG)
    monkeypatch.setattr(build, "_run", lambda *_: pytest.fail("it is built again"))
    assert native_library(generate(RNG), RNG) == made


def test_accesses_have_the_size_that_is_asked_for():
    _, host = bench(BLK)
    ids = run(host.config_read(ConfigOffset.VENDOR_ID, 4))
    assert ids == 0x1042_1AF4
    parts = [(1, [0xF4, 0x1A, 0x42, 0x10]), (2, [0x1AF4, 0x1042])]
    for size, values in parts:
        assert [run(host.config_read(size * n, size)) for n in range(4 // size)] == values
    capacity = run(host.bar_read(4, 0x2000, 8))
    assert capacity == SECTORS
    assert [run(host.bar_read(4, 0x2000 + n, 1)) for n in range(8)] == list(capacity.to_bytes(8, "little"))


def test_an_access_that_is_refused_has_a_status():
    _, host = bench(BLK_TRANSITIONAL)
    with pytest.raises(BusError, match="read of 4 at BAR 4 .* ended with UR"):
        run(host.bar_read(4, 0x10_0000, 4))
    with pytest.raises(ValueError, match="4 bytes at 0x2 are no I/O access"):
        run(host.bar_read(0, 2, 4))
    with pytest.raises(ValueError, match="vector 128 is not below 128"):
        host.msix_message(128)


def test_what_does_not_happen_is_waited_for_no_longer_than_told():
    _, host = bench(RNG)
    start = host.now_ns()
    with pytest.raises(HostTimeout, match="did not happen within 4000 ns"):
        run(host.until(lambda: False, timeout_ns=4_000))
    assert 4_000 <= host.now_ns() - start <= 4_008
    run(host.sleep(1_000))
    assert 5_000 <= host.now_ns() - start <= 5_016


@pytest.mark.parametrize("kept", ["disk", "memory"])
def test_the_disk_is_read_through_the_library(kept):
    shown = disk()
    made, host = bench(BLK, disk=shown, seed=1)
    content = bytes(shown.data)
    if kept == "memory":
        content = content[::-1]
        host.device.storage_memory(bytearray(content), SECTORS, latency=100)
    read_all(made, content)
    assert shown.counts["read"] == (SECTORS // 8 if kept == "disk" else 0)


def test_storage_in_memory_takes_writes_and_counts_flushes():
    made, host = bench(BLK)
    store = bytearray(512 * SECTORS)
    host.device.storage_memory(store, SECTORS)
    content = random.Random(2).randbytes(2048)

    async def go():
        blk = VirtioBlk(await made.start())
        await blk.write(5, content)
        await blk.flush()

    run(go())
    assert store == bytes(5 * 512) + content + bytes((SECTORS - 9) * 512)
    assert host.device.flushes == 1


def test_the_latency_of_the_storage_counts_per_operation():
    content, cycles = bytes(512 * SECTORS), {}
    for latency in (0, 1_000):
        made, host = bench(BLK, seed=1)
        host.device.storage_memory(bytearray(content), SECTORS, latency=latency)
        start = host.cycles()
        read_all(made, content)
        cycles[latency] = host.cycles() - start
    assert cycles[1_000] - cycles[0] == pytest.approx(1_000 * (SECTORS // 8), rel=0.01)


def test_without_a_source_the_noise_comes_from_the_seed():
    def noise(seed):
        made, host = bench(RNG, link=LinkModel(seed=seed))
        host.device.entropy(None)

        async def read():
            return await VirtioRng(await made.start()).read(64)

        return run(read())

    assert noise(1) == noise(1) != noise(2)
    assert len(set(noise(1))) > 40


def test_the_clock_of_a_vmmci_runs_with_simulated_time_when_it_is_told_to():
    made, host = bench(VMMCI, clock=Clock(2**40, 999_990))
    run(host.sleep(10_000))
    assert made.clock.now() == (2**40, 999_990)
    host.clocks.append(made.clock)
    start = host.now_ns()
    run(host.sleep(25_000))
    passed = host.now_ns() // 1000 - start // 1000
    assert made.clock.now() == (2**40 + 1, 999_990 + passed - 1_000_000)
    assert passed in (25, 26)


def test_a_command_is_answered():
    made, _ = bench(VMMCI)
    assert run(made.vmmci.request(VmmciCommand.REBOOT)) == VmmciAnswer.NOT_RUNNING
    run(made.start())
    assert run(made.vmmci.request(VmmciCommand.REBOOT)) == VmmciAnswer.RAISED


def test_the_same_seed_gives_the_same_cycles_and_packets():
    def history(seed):
        link = LinkModel(memory_latency=30, jitter=100, stall=300, seed=seed)
        shown = disk()
        made, host = bench(BLK, link=link, disk=shown, seed=1)
        read_all(made, bytes(shown.data))
        return host.cycles(), list(host.trace.lines())

    first = history(1)
    assert len(first[1]) == 200
    assert first == history(1)
    assert first[0] != history(2)[0]
