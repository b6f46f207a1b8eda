"""The endpoint as it is put together; most of what it does is tested under cocotb."""

from types import SimpleNamespace
from typing import Any

import pytest
from amaranth.hdl import Fragment
from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.devices.interface import Device, DeviceTable
from amaranth_virtio.devices.net import NetDevice
from amaranth_virtio.devices.rng import RngDevice
from amaranth_virtio.devices.vmmci import VmmciDevice
from amaranth_virtio.endpoint import Endpoint
from helpers.simulation import send, simulate, steady
from helpers.tlp import completion, config, from_raw_beats, io, message, parse, raw_beats
from virtio_spec.virtio_pci import Interface

MODERN, TRANSITIONAL, LEGACY = Interface

#: Every device type with every interface that it can have.
BUILT = [
    *((device, interface) for device in (RngDevice, BlkDevice) for interface in Interface),
    (NetDevice, MODERN),
    (VmmciDevice, LEGACY),
]


def parts_of(endpoint: Endpoint) -> Any:
    return endpoint.elaborate(None).submodules


@pytest.mark.parametrize(("queues", "vectors"), [(1, 2), (3, 4), (127, 128), (128, 128), (256, 128)])
def test_there_is_a_vector_per_queue_as_far_as_they_fit(queues, vectors):
    """MSIX-DEV-01: at most 128 vectors lie below the pending bits; queues beyond share them."""
    parts = parts_of(Endpoint(device=BlkDevice(width=64, queues=queues)))
    assert parts.function.vectors == vectors
    assert parts.core.vectors == vectors
    assert parts.modern.queues == parts.engine.queues == queues


@pytest.mark.parametrize(("device", "interface"), BUILT)
def test_every_device_can_be_put_together_with_every_interface_it_can_have(device, interface):
    endpoint = Endpoint(device=device(width=64), interface=interface)
    Fragment.get(endpoint, None)
    parts = parts_of(endpoint)
    front_ends = {name for name in ("modern", "legacy", "select") if hasattr(parts, name)}
    assert (
        front_ends
        == {
            MODERN: {"modern"},
            LEGACY: {"legacy"},
            TRANSITIONAL: {"modern", "legacy", "select"},
        }[interface]
    )


@pytest.mark.parametrize(("device", "interface"), [(RngDevice, MODERN), (VmmciDevice, LEGACY)])
def test_the_interface_is_the_devices_first_unless_given(device, interface):
    assert Endpoint(device=device(width=64)).interface is interface


@pytest.mark.parametrize(
    ("device", "interface", "ids", "subsystem", "revision"),
    [
        (BlkDevice, MODERN, (0x1AF4, 0x1042), (0x1AF4, 0x1100), 1),
        (BlkDevice, TRANSITIONAL, (0x1AF4, 0x1001), (0x1AF4, 2), 0),
        (BlkDevice, LEGACY, (0x1AF4, 0x1001), (0x1AF4, 2), 0),
        (RngDevice, TRANSITIONAL, (0x1AF4, 0x1005), (0x1AF4, 4), 0),
        (VmmciDevice, LEGACY, (0x0B5D, 0x0777), (0x0B5D, 0xFFFF), 0),
    ],
)
def test_the_ids_are_those_of_the_interface_or_the_devices_own(device, interface, ids, subsystem, revision):
    identity = parts_of(Endpoint(device=device(width=64), interface=interface)).function.identity
    assert (identity.vendor_id, identity.device_id) == ids
    assert (identity.subsystem_vendor_id, identity.subsystem_id) == subsystem
    assert identity.revision == revision


def test_a_device_without_queues_has_no_engine_no_dma_and_no_vectors_if_it_wants_none():
    parts = parts_of(Endpoint(device=VmmciDevice()))
    for name in ("engine", "reads", "modern", "select"):
        assert not hasattr(parts, name)
    assert (parts.function.writers, parts.function.vectors, parts.core.vectors) == (0, 0, 0)


@pytest.mark.parametrize(("device", "reads"), [(RngDevice, False), (BlkDevice, True)])
def test_there_is_a_channel_for_data_if_the_device_wants_what_drivers_write(device, reads):
    assert ("data" in parts_of(Endpoint(device=device(width=64))).reads.clients) == reads


@pytest.mark.parametrize("interface", [MODERN, TRANSITIONAL])
def test_an_interface_that_the_device_cannot_have_is_refused(interface):
    with pytest.raises(ValueError) as caught:
        Endpoint(device=VmmciDevice(), interface=interface)
    assert str(caught.value) == f"interface must be one that the device can have (legacy), not {interface}"


def test_a_queue_has_as_many_chains_in_flight_as_its_device_was_made_for():
    assert Endpoint(device=NetDevice(width=64, quota=32)).quota == 32
    assert Endpoint(device=NetDevice(width=64, quota=32), quota=32).quota == 32
    assert Endpoint(device=RngDevice(width=64)).quota == 16
    assert Endpoint(device=RngDevice(width=64), quota=4).quota == 4
    with pytest.raises(ValueError) as caught:
        Endpoint(device=NetDevice(width=64, quota=32), quota=16)
    assert str(caught.value) == "quota must be that of the device, 32, not 16"


def test_a_device_type_without_a_transitional_id_is_modern_only():
    table = DeviceTable(device_type=63, class_code=0, features=0, queues=1)
    device = Device(table=table, width=64, backend={})
    with pytest.raises(ValueError, match="device type 63 has no transitional PCI device id"):
        Endpoint(device=device, interface=LEGACY)


# A guest of vmmci, on the link

HERE, BASE = 0x2A00, 0xC100
IO_SPACE, INTERRUPT_STATUS = 1, 1 << 19
STATUS, ISR, COMMAND, TIME = 18, 19, 20, 24
SYNCRTC, REBOOT = 3, 2
RAISED, NOT_RUNNING = 0, 2
ACKNOWLEDGED = 0
ASSERT, DEASSERT = (message(code, routing=0b100, requester=HERE) for code in (0x20, 0x24))


class Guest:
    """Requests one after another, and a host whose clock goes on by a microsecond every cycle."""

    def __init__(self, *, seconds: int, microseconds: int):
        self.dut: Any = Endpoint(device=VmmciDevice(ack_timeout=5000), config_hold=5000)
        self.now = seconds * 1_000_000 + microseconds
        self.shown: set[tuple[int, int]] = set()
        self.beats: list[Any] = []
        self.notices: list[tuple[int, int]] = []

    def run(self, bench: Any) -> None:
        async def main(ctx: Any) -> None:
            self.ctx = ctx
            await self.ask(config(4, BASE, target=HERE))
            await self.ask(config(1, IO_SPACE, target=HERE))
            await bench()

        background = [self._receive, self._clock, self._notices, steady(self.dut.tx)]
        simulate(self.dut, main, background=background, deadline=30_000)

    async def _receive(self, ctx: Any) -> None:
        tx = self.dut.tx
        ctx.set(tx.ready, 1)
        async for *_, valid, payload in ctx.tick().sample(tx.valid, tx.payload):
            if valid:
                self.beats.append(payload)

    async def _clock(self, ctx: Any) -> None:
        while True:
            time = divmod(self.now, 1_000_000)
            self.shown.add(time)
            ctx.set(self.dut.clock.seconds, time[0])
            ctx.set(self.dut.clock.microseconds, time[1])
            self.now += 1
            await ctx.tick()

    async def _notices(self, ctx: Any) -> None:
        async for *_, notice in ctx.tick().sample(self.dut.notice):
            if notice.valid:
                self.notices.append((int(notice.kind), notice.command))

    @property
    def packets(self) -> list[list[int]]:
        whole = max((at + 1 for at, beat in enumerate(self.beats) if beat.last), default=0)
        return from_raw_beats(self.beats[:whole], self.dut.width)

    @property
    def messages(self) -> list[list[int]]:
        return [packet for packet in self.packets if packet[0] >> 27 & 3 == 0b10]

    async def send(self, packet: list[int]) -> None:
        await send(self.ctx, self.dut.rx, raw_beats(packet, self.dut.width))

    async def ask(self, packet: list[int]) -> SimpleNamespace:
        before = len(self.packets)
        await self.send(packet)
        while True:
            for found in map(parse, self.packets[before:]):
                if found.type == 0b01010:
                    assert found.status == 0
                    return found
            await self.ctx.tick()

    async def read(self, offset: int, size: int) -> int:
        lane = offset % 4
        enable = (1 << size) - 1 << lane
        (word,) = (await self.ask(io(BASE + offset - lane, first_be=enable))).payload
        return word >> 8 * lane & (1 << 8 * size) - 1

    async def write(self, offset: int, size: int, value: int) -> None:
        lane = offset % 4
        enable = (1 << size) - 1 << lane
        await self.ask(io(BASE + offset - lane, value << 8 * lane, first_be=enable))

    async def pieces(self, offset: int, length: int, size: int) -> int:
        """A value in accesses of ``size`` bytes, low ones first."""
        found = 0
        for at in range(0, length, size):
            found |= await self.read(offset + at, size) << 8 * at
        return found

    async def request(self, command: int) -> int:
        port = self.dut.request
        self.ctx.set(port.p, command)
        self.ctx.set(port.valid, 1)
        await self.ctx.tick()
        self.ctx.set(port.valid, 0)
        answer = self.ctx.get(self.dut.answer)
        assert answer.valid
        return int(answer.kind)

    async def until_messages(self, count: int) -> list[list[int]]:
        while len(self.messages) < count:
            await self.ctx.tick()
        return self.messages

    async def pci_status(self) -> int:
        return (await self.ask(config(1, target=HERE))).payload[0]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_guest_reads_a_time_that_was_shown_in_any_width_while_the_seconds_overflow_a_word(size):
    """Trap 24: PCI-LEG-DEV-05. The clock ticks many times between any two reads."""
    guest = Guest(seconds=2**32 - 1, microseconds=999_940 - 400 // size)

    async def main():
        seen = []
        for _ in range(3):
            seconds = await guest.pieces(TIME, 8, size)
            microseconds = await guest.pieces(TIME + 8, 8, size)
            assert (seconds, microseconds) in guest.shown
            seen.append((seconds, microseconds))
        assert seen == sorted(set(seen)), "time stands still"
        assert seen[0][0] == 2**32 - 1 and seen[-1][0] == 2**32

    guest.run(main)


@pytest.mark.parametrize("bytewise", [False, True])
def test_a_guest_is_told_by_intx_and_acknowledges(bytewise):
    """One that reads the ISR status first, and one that never does."""
    guest = Guest(seconds=1, microseconds=0)

    async def acknowledge(command: int) -> None:
        for at in range(4) if bytewise else [0]:
            await guest.write(COMMAND + at, 1 if bytewise else 4, command >> 8 * at)

    async def main():
        assert await guest.request(REBOOT) == NOT_RUNNING
        assert await guest.read(0, 4) & 0xFFFF == 0b111
        await guest.write(4, 4, 0b111)
        await guest.write(STATUS, 1, 7)

        assert await guest.request(SYNCRTC) == RAISED
        assert await guest.until_messages(1) == [ASSERT]
        assert await guest.pci_status() & INTERRUPT_STATUS
        assert await guest.read(ISR, 1) == 2
        assert await guest.until_messages(2) == [ASSERT, DEASSERT]
        assert await guest.read(COMMAND, 4) == SYNCRTC
        await acknowledge(SYNCRTC)
        assert guest.notices == [(ACKNOWLEDGED, SYNCRTC)]
        assert await guest.read(COMMAND, 4) == 0

        assert await guest.request(REBOOT) == RAISED
        await guest.until_messages(3)
        assert await guest.pieces(COMMAND, 4, 1 if bytewise else 4) == REBOOT
        assert await guest.until_messages(4) == [ASSERT, DEASSERT] * 2
        assert await guest.read(ISR, 1) == 0
        await acknowledge(REBOOT)
        assert guest.notices[1:] == [(ACKNOWLEDGED, REBOOT)]
        await guest.write(STATUS, 1, 0)
        assert await guest.read(STATUS, 1) == 0
        assert await guest.read(COMMAND, 4) == 0
        assert await guest.request(REBOOT) == NOT_RUNNING

    guest.run(main)


def test_a_completion_that_nobody_asked_for_is_taken_and_noted_as_a_correctable_error():
    guest = Guest(seconds=0, microseconds=0)

    async def device_status(at: int) -> int:
        return (await guest.ask(config(at // 4 + 2, target=HERE))).payload[0] >> 16

    async def main():
        at = (await guest.ask(config(0x34 // 4, target=HERE))).payload[0] & 0xFF
        while (head := (await guest.ask(config(at // 4, target=HERE))).payload[0]) & 0xFF != 0x10:
            at = head >> 8 & 0xFF
        assert await device_status(at) & 0xF == 0
        for length in (1, 7):
            await guest.send(completion([0] * length, byte_count=4 * length, requester=HERE))
        assert await device_status(at) & 0xF == 1

    guest.run(main)
