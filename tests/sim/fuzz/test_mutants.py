"""Devices and hosts with one mistake each, which one of a few seeds has to find."""

import pytest
from cocotbext.virtio.fuzz import Plan, completions
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
#: Seeds, of those that do the one thing that matters: it is not always seen.
TRIES = 30


def with_rings(split: type[SplitQueue] = SplitQueue, packed: type[PackedQueue] = PackedQueue):
    class Broken(ReferenceDevice):
        split_ring, packed_ring = split, packed

    return Broken


class TakesAnyNext(SplitQueue):
    # Needs the size, and so is no static method as the one that it stands for.
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


#: With what shows it.
MUTANTS = {
    "next": (with_rings(TakesAnyNext), "next_outside_of_the_descriptor_table"),
    "head": (with_rings(TakesAnyHead), "head_outside_of_the_table"),
    "index": (with_rings(BelievesTheIndex), "index_far_ahead"),
    "loops": (with_rings(DropsLoops), "loop_of_descriptors"),
    "table length": (with_rings(packed=RoundsTablesUp), "table_length_not_a_multiple_of_16"),
    "wrap": (with_rings(packed=LooksAtAvailOnly), "wrong_wrap"),
    "flags in tables": (with_rings(packed=LooksAtFlagsInTables), "flags_and_ids_in_a_table"),
    "silent": (GivesUpInSilence, "descriptor_of_length_zero"),
    "one queue": (StopsTheQueueOnly, "readable_after_writable"),
    "others' chains": (GivesEverythingBack, "more_than_4_gib"),
    "reset": (RemembersOverAReset, "table_without_memory"),
}


def fails(run, seeds) -> bool:
    return any(isinstance(run(seed, None)[1], Exception) for seed in seeds)


@pytest.mark.parametrize(("device", "oddity"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_device_with_a_mistake_is_found(device, oddity):
    bench, _ = model(SEVERAL)(0)
    seeds = [seed for seed in range(2_000) if oddity in (step.oddity for step in Plan.of(seed, bench).steps)]
    assert fails(on(model(SEVERAL, device=device)), seeds[:TRIES])


def test_data_that_changed_on_its_way_is_found(monkeypatch):
    """As if the device had not looked at what a completion says: nothing tells it that one is wrong."""

    def flipped(packet):
        return [*packet[:-1], packet[-1] ^ 0x0100_0000]

    found = {name: FaultKind(flipped, rest=True, harmless=True) for name in completions.FAULTS}
    monkeypatch.setattr("cocotbext.virtio.fuzz.plan.FAULTS", found)
    monkeypatch.setattr("cocotbext.virtio.fuzz.session.FAULTS", found)
    assert fails(on(native(endpoint_library(BLK), BLK)), range(TRIES))
