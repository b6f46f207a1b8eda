"""vmmci's driver: on a device that reads at any width, and on vmd, where the original bug is."""

import pytest
from cocotbext.virtio.backends.model import ModelHost, ModelVmmci, run
from cocotbext.virtio.devices.vmmci import VirtioVmmci
from cocotbext.virtio.driver import probe
from virtio_models.clock import Clock
from virtio_models.device import ReferenceDevice
from virtio_models.vmd import Vmd
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import VmmciCommand, VmmciEvent, VmmciFeature

HABITS = ["natural", "bytes"]
#: Seconds in which each byte is another one, so that a misplaced one shows.
SECONDS = 0x6655_4433


async def guest(clock, *, habit="natural", device=ReferenceDevice):
    """A running guest's driver, and the host's side."""
    kind = Vmmci(clock)
    host = ModelHost(kind, interface=Interface.LEGACY, device=device)
    found = await probe(host, habit=habit)
    await found.start()
    return VirtioVmmci(found), ModelVmmci(kind)


@pytest.mark.parametrize("habit", HABITS)
def test_the_device_is_known_by_its_own_ids(habit):
    async def go():
        vmmci, _ = await guest(Clock(), habit=habit)
        assert vmmci.device.device_type == 0xFFFF
        assert vmmci.device.transport.interface == "legacy"
        assert all(vmmci.device.accepted >> feature & 1 for feature in VmmciFeature)
        assert (vmmci.device.queues, vmmci.device.vector_of) == ({}, {})

    run(go())


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("seconds", [SECONDS, 0, -1, -(2**63), 2**32, 2**63 - 1])
def test_time_is_read_with_its_sign_and_all_its_bits(habit, seconds):
    async def go():
        vmmci, _ = await guest(Clock(seconds, 987_654), habit=habit)
        assert await vmmci.time() == (seconds, 987_654)

    run(go())


@pytest.mark.parametrize("habit", HABITS)
def test_time_is_of_one_instant_while_the_clock_runs(habit):
    async def go():
        clock = Clock(2**32 - 1, 999_990)
        vmmci, _ = await guest(clock, habit=habit)
        vmmci.device.host.clocks.append(clock)
        for _ in range(40):
            before = clock.now()
            assert before <= await vmmci.time() <= clock.now()
        assert clock.now()[0] == 2**32

    run(go())


def test_drift_is_how_far_the_guest_is_ahead():
    async def go():
        vmmci, _ = await guest(Clock(1_000, 250_000))
        host_ns = 1_000_250_000_000
        assert await vmmci.drift(host_ns + 1_234) == 1_234
        assert await vmmci.drift(host_ns - 3_000_000_001) == -3_000_000_001

    run(go())


@pytest.mark.parametrize("habit", HABITS)
def test_a_command_is_seen_and_acknowledged_once(habit):
    async def go():
        vmmci, port = await guest(Clock(), habit=habit)
        assert await vmmci.command() == VmmciCommand.NONE
        await port.request(VmmciCommand.REBOOT)
        await vmmci.device.wait_intx()
        assert await vmmci.command() == VmmciCommand.REBOOT
        await vmmci.acknowledge(VmmciCommand.REBOOT)
        assert port.events == [(VmmciEvent.ACKNOWLEDGED, VmmciCommand.REBOOT)]

    run(go())


@pytest.mark.parametrize("habit", HABITS)
def test_a_guest_shuts_down_on_its_own(habit):
    async def go():
        vmmci, port = await guest(Clock(), habit=habit)
        await vmmci.request_shutdown()
        assert port.events == [(VmmciEvent.SHUTDOWN, VmmciCommand.SHUTDOWN)]

    run(go())


def test_on_vmd_only_reads_by_words_tell_the_time():
    """The original bug: Linux's own legacy driver reads byte by byte, which vmd does not answer."""

    async def go():
        by_words, _ = await guest(Clock(SECONDS, 0x5_4321), device=Vmd)
        assert await by_words.time() == (SECONDS, 0x5_4321)
        by_bytes, _ = await guest(Clock(SECONDS, 0x5_4321), device=Vmd, habit="bytes")
        assert await by_bytes.time() == (SECONDS & 0xFF, 0x21)

    run(go())
