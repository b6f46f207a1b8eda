"""Interrupts and time of the host of the reference device."""

import pytest
from cocotbext.virtio.backends.model import ModelHost, ModelVmmci, run
from cocotbext.virtio.devices.rng import VirtioRng
from cocotbext.virtio.driver import probe
from cocotbext.virtio.host import HostTimeout
from virtio_models.clock import Clock
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent


def vmmci_host(clock=None, **options):
    kind = Vmmci(clock or Clock(), **options)
    return ModelHost(kind, interface=Interface.LEGACY), ModelVmmci(kind)


@pytest.mark.parametrize("interface", list(Interface))
def test_intx_is_asserted_with_the_used_buffer_and_ends_with_the_isr(interface):
    async def go():
        host = ModelHost(Rng(EntropySource(1)), interface=interface)
        device = await probe(host)
        await device.start(interrupts=False)
        for count in (1, 2):
            request = await VirtioRng(device).submit(4)
            assert not host.intx()
            await device.wait_intx()
            assert device.collect() == [request]
            assert host.intx_asserted() == count
            assert await device.transport.isr() == 1
            assert not host.intx()

    run(go())


def test_disabled_intx_waits_for_the_command_register():
    async def go():
        host = ModelHost(Rng(EntropySource(1)))
        device = await probe(host)
        await device.start(interrupts=False)
        await device.transport.set_command(intx=False)
        await device.wait(await VirtioRng(device).submit(4))
        await host.sleep(1000)
        assert not host.intx()
        await device.transport.set_command()
        assert host.intx()

    run(go())


def test_an_access_in_io_space_stays_inside_a_dword():
    host, _ = vmmci_host()
    for request in (host.bar_read(0, 18, 4), host.bar_write(0, 0, 8, 0)):
        with pytest.raises(ValueError, match="bytes at 0x.* are no I/O access"):
            run(request)


def test_intx_that_does_not_come_times_out():
    async def go():
        host = ModelHost(Rng(EntropySource(1)))
        device = await probe(host)
        await device.start(interrupts=False)
        with pytest.raises(HostTimeout, match="^nothing after 3000 ns$"):
            await device.wait_intx(timeout_ns=3000)

    run(go())


def test_clocks_run_with_every_access_and_with_waiting():
    async def go():
        clock, other = Clock(10, 999_999), Clock(0)
        host, _ = vmmci_host(clock)
        host.clocks.append(clock)
        start = host.now_ns()
        for _ in range(10):
            await host.config_read(0, 4)
            await host.bar_read(0, 18, 1)
            await host.bar_write(0, 16, 2, 0)
        assert host.now_ns() > start
        await host.sleep(1_500)
        with pytest.raises(HostTimeout):
            await host.until(lambda: False, timeout_ns=2_700)
        passed = host.now_ns() // 1000 - start // 1000
        assert clock.now() == (11, passed - 1)
        assert other.now() == (0, 0)

    run(go())


def test_time_passes_for_the_device():
    async def go():
        host, port = vmmci_host(ack_timeout_ns=5_000)
        device = await probe(host)
        assert await port.request(VmmciCommand.REBOOT) == VmmciAnswer.NOT_RUNNING
        await device.start()
        assert await port.request(VmmciCommand.REBOOT) == VmmciAnswer.RAISED
        await host.sleep(3_000)
        assert port.events == []
        await host.until(lambda: bool(port.events))
        assert port.events == [(VmmciEvent.TIMED_OUT, VmmciCommand.REBOOT)]

    run(go())
