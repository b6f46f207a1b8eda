"""Devices and hosts with one mistake each, which some of a few seeds have to find."""

import pytest
from cocotbext.virtio.fuzz import completions
from cocotbext.virtio.fuzz.completions import FaultKind
from helpers.native import BLK, endpoint_library
from virtio_models.device import ReferenceDevice
from virtio_models.packed import PackedQueue
from virtio_models.ring import RingError
from virtio_models.split import SplitQueue
from virtio_sim.fuzz.benches import model, native, on
from virtio_sim.fuzz.command import configurations
from virtio_spec.layout import Cause
from virtio_spec.packed import PackedFlag
from virtio_spec.split import avail_ring_offset
from virtio_spec.virtio import DeviceStatus

(SEVERAL,) = configurations("blk", width=128, queues=3)
SEEDS = range(1, 161)


def with_rings(split: type[SplitQueue] = SplitQueue, packed: type[PackedQueue] = PackedQueue):
    class Broken(ReferenceDevice):
        split_ring, packed_ring = split, packed

    return Broken


class TakesAnyNext(SplitQueue):
    def _descriptor(self, dma, table, number):  # pyright: ignore[reportIncompatibleMethodOverride]
        descriptor = SplitQueue._descriptor(dma, table, number)
        descriptor.next %= self.size
        return descriptor


class TakesAnyHead(SplitQueue):
    def fetch(self, dma):
        slot = self.driver + avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        dma.memory.write(slot, (head % self.size).to_bytes(2, "little"))
        return super().fetch(dma)


class BelievesTheIndex(SplitQueue):
    def fetch(self, dma):
        try:
            return super().fetch(dma)
        except RingError as error:
            if error.cause == Cause.AVAIL_INDEX:
                return None
            raise


class DropsLoops(SplitQueue):
    def _walk(self, dma, head):
        try:
            return super()._walk(dma, head)
        except RingError as error:
            if error.cause == Cause.CHAIN_LOOP:
                return None
            raise

    def _take(self, chain):
        return None if chain is None else super()._take(chain)


class RoundsTablesUp(PackedQueue):
    def _entries(self, chain, number, length, *, alone):
        return super()._entries(chain, number, -(-length // 16) * 16, alone=alone)


class LooksAtAvailOnly(PackedQueue):
    def _is_available(self, descriptor, place):
        return bool(descriptor.flags & PackedFlag.AVAIL) == self._wrap(place)


class LooksAtFlagsInTables(PackedQueue):
    def _walk_table(self, dma, chain, table, entries):
        for number in range(entries):
            if self._descriptor(dma, table + 16 * number).flags & PackedFlag.INDIRECT:
                raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
        super()._walk_table(dma, chain, table, entries)


class GivesUpInSilence(ReferenceDevice):
    def _needs_reset(self, queue, error):
        self.status |= DeviceStatus.DEVICE_NEEDS_RESET


class StopsTheQueueOnly(ReferenceDevice):
    def _needs_reset(self, queue, error):
        self._kicked.discard(queue)


class GivesEverythingBack(ReferenceDevice):
    """After an error, with what is in the buffers."""

    def _guarded(self, number, work):
        try:
            yield from work
        except RingError as error:
            for other, held in self._held.items():
                done, held[:] = [(entry.chain, entry.chain.room) for entry in held], []
                yield from self.queues[other].push(self.dma, done)
            self._needs_reset(number, error)


class RemembersOverAReset(ReferenceDevice):
    def _reset(self):
        cause = getattr(self, "cause", Cause.NONE)
        super()._reset()
        self.cause = cause

    @property
    def running(self):
        return super().running and self.cause == Cause.NONE


MUTANTS = {
    "next outside": with_rings(TakesAnyNext),
    "head outside": with_rings(TakesAnyHead),
    "index": with_rings(BelievesTheIndex),
    "loops": with_rings(DropsLoops),
    "table length": with_rings(packed=RoundsTablesUp),
    "wrap": with_rings(packed=LooksAtAvailOnly),
    "flags in tables": with_rings(packed=LooksAtFlagsInTables),
    "silent": GivesUpInSilence,
    "one queue": StopsTheQueueOnly,
    "others' chains": GivesEverythingBack,
    "reset": RemembersOverAReset,
}


def fails(run) -> bool:
    return any(isinstance(run(seed, None)[1], Exception) for seed in SEEDS)


@pytest.mark.parametrize("device", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_device_with_a_mistake_is_found(device):
    assert fails(on(model(SEVERAL, device=device)))


def test_data_that_changed_on_its_way_is_found(monkeypatch):
    """As if the device had not looked at what a completion says: nothing tells it that one is wrong."""

    def flipped(packet):
        return [*packet[:-1], packet[-1] ^ 0x0100_0000]

    found = {name: FaultKind(flipped, rest=True, harmless=True) for name in completions.FAULTS}
    monkeypatch.setattr("cocotbext.virtio.fuzz.plan.FAULTS", found)
    monkeypatch.setattr("cocotbext.virtio.fuzz.session.FAULTS", found)
    assert fails(on(native(endpoint_library(BLK), BLK)))
