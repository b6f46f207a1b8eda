"""The compiled endpoint behind the socket."""

import os
import select
import struct

import pytest
from helpers.native import BLK_TRANSITIONAL, RNG, endpoint_library
from helpers.vfio_user_client import GuestMemory
from helpers.vfio_user_guest import BASE, CONFIG, DATA, RngGuest
from virtio_sim.cosim.native import QUIET, NativeFunction
from virtio_sim.native.library import NativeEndpoint
from virtio_spec import layout
from virtio_spec.pci import Command, ConfigOffset

EVENTFD, TRIGGER, MSIX = 4, 32, 2
FLR = 1 << 15
COMMAND = Command.IO_SPACE | Command.MEMORY_SPACE | Command.BUS_MASTER


@pytest.fixture
def function():
    """A transitional block device without a disk."""
    with NativeEndpoint(endpoint_library(BLK_TRANSITIONAL)) as endpoint:
        yield NativeFunction(endpoint)


@pytest.fixture
def rng():
    with NativeEndpoint(endpoint_library(RNG)) as endpoint:
        endpoint.entropy(iter(os.urandom(1 << 20)).__next__)
        yield NativeFunction(endpoint)


def capability(function, wanted):
    offset = function.config_read(ConfigOffset.CAPABILITIES_POINTER, 1)
    while function.config_read(offset, 1) != wanted:
        offset = function.config_read(offset + 1, 1)
    return offset


@pytest.mark.parametrize("clears", [0, 5000])
def test_the_clock_stands_still_when_nothing_moves_and_no_memory_can_be_under_clearing(clears):
    with NativeEndpoint(endpoint_library(RNG)) as endpoint:
        function = NativeFunction(endpoint, clears=clears)
        while function.work(50):
            pass  # it begins with some entropy
        function.config_read(0, 4)
        before = endpoint.cycles
        while function.work(50):
            pass
        assert abs(endpoint.cycles - before - (QUIET + clears)) <= 50


def test_the_regions_are_the_bars_of_the_endpoint(function):
    found = {bar: (region.size, region.io) for bar, region in function.regions.items()}
    assert found == {0: (256, True), 1: (4096, False), 4: (16384, False), 7: (4096, False)}


def test_software_sizes_and_places_bars_as_on_any_function(function):
    registers = [ConfigOffset.BAR0 + 4 * number for number in range(6)]
    for register in registers:
        function.config_write(register, 4, 0xFFFF_FFFF)
    sizes = [function.config_read(register, 4) for register in registers]
    assert sizes == [0xFFFF_FF01, 0xFFFF_F000, 0, 0, 0xFFFF_C00C, 0xFFFF_FFFF]
    function.config_write(registers[1], 4, 0xE000_1234)
    assert function.config_read(registers[1], 4) == 0xE000_1000
    function.config_write(registers[1] + 2, 2, 0xF123)
    assert function.config_read(registers[1], 4) == 0xF123_1000
    assert function.config_read(registers[1] + 2, 1) == 0x23


def test_the_bars_are_reached_wherever_software_has_put_them(function):
    function.config_write(ConfigOffset.COMMAND, 2, COMMAND)
    for address in (0, 0xE000_0000):  # one over the other
        for bar in (0, 1, 4):
            function.config_write(ConfigOffset.BAR0 + 4 * bar, 4, address)
        assert function.bar_read(0, 12, 2) == 16  # size of queue 0, in both interfaces
        assert function.bar_read(4, 24, 2) == 16
        assert function.bar_read(1, 12, 4) == 1  # a vector is masked at first


def test_a_space_that_is_switched_off_answers_with_all_ones(function):
    assert function.bar_read(4, 24, 2) == 0xFFFF
    assert function.bar_read(0, 12, 4) == 0xFFFF_FFFF


def test_the_bars_are_reached_again_after_a_function_level_reset(function):
    function.config_write(ConfigOffset.COMMAND, 2, COMMAND)
    control = capability(function, 0x10) + 8
    for _ in range(3):
        function.bar_write(4, 22, 2, 5)
        function.config_write(control, 2, FLR)
        assert function.bar_read(4, 22, 2) == 0xFFFF  # memory space is off now
        function.config_write(ConfigOffset.COMMAND, 2, COMMAND)  # nobody writes the addresses again
        assert function.bar_read(4, 22, 2) == 0
        assert function.bar_read(0, 12, 2) == 16


def test_work_ends_when_nothing_moves(rng):
    assert any(not rng.work(2_000) for _ in range(100))
    cycles = rng._endpoint.cycles
    rng.work(1 << 20)
    assert rng._endpoint.cycles - cycles < 1 << 16


def test_a_request_of_a_guest_goes_through_the_gateware(attached, rng):
    with attached(rng) as (_, client, guest):
        config, queue = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
        guest.enable_msix()
        client.set_irqs(MSIX, EVENTFD | TRIGGER, 0, 2, fds=(config, queue))
        guest.start(vector=1)
        guest.ask(100)
        assert select.select([queue], [], [], 10)[0], "no interrupt in 10 s"
        assert os.eventfd_read(queue) == 1
        assert guest.used() == 1
        data = guest.memory.read(DATA, 100)
        assert len(set(data)) > 32
        assert guest.memory.read(DATA + 100, 4) == bytes(4)
        os.close(config)
        os.close(queue)


def test_a_guest_that_dies_with_requests_under_way_leaves_a_device_like_new(serve, rng):
    with serve(rng) as running:
        for _ in range(3):
            client, memory = running.connect(), GuestMemory(RngGuest.memory_size())
            client.version()
            client.dma_map(BASE, memory.size, memory.fd)
            guest = RngGuest(client, memory)
            guest.enumerate()
            assert guest.status() == 0
            guest.start()
            guest.ask(8192)
            client.close()
            os.close(memory.fd)
            running.wait_for("the client left")
            running.lines.clear()
            running.lines.append("")


def test_qemus_view_of_an_idle_device_does_not_change(attached, rng):
    with attached(rng) as (_, client, _guest):
        whole = client.read_bytes(CONFIG, 0, 256)
        assert struct.unpack_from("<HH", whole) == (0x1AF4, 0x1044)
        assert client.read(CONFIG, ConfigOffset.BAR0 + 4 * layout.MSIX_BAR, 4) == 0xE000_0000
