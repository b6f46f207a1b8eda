"""Tags of a read channel: which are in use, and what their completions must look like."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.tlp import CompletionStatus, Fmt, TlpType

from ..tlp import TlpSignature, tlp_layout
from .slots import slot_shape, slot_write_layout

__all__ = ["QUARANTINE", "CompletionTracker", "expect_layout"]

#: Ticks (quarters of the time-out) for which no tag may have died before the dead ones are used again.
QUARANTINE = 5


def expect_layout(max_bytes: int) -> data.StructLayout:
    """What a tag's next completion brings.

    ``address``
        Of its first byte, modulo ``max_bytes``.
    ``remaining``
        Bytes until the request is complete; 0 when nothing more is expected.
    """
    return data.StructLayout({"address": ceil_log2(max_bytes), "remaining": ceil_log2(max_bytes + 1)})


class CompletionTracker(wiring.Component):
    """Check the completions of a range of tags and place their data.  [PCIe base 5.0 §2.2.9, §2.3.1.1]

    The completions of one read come in address order, cut at any dword boundary; those of different
    reads in any order. Each must carry the byte count and lower address that follow from the ones
    before it, and not more dwords than are missing. Two cycles from a beat to its place in the slot
    memory; never stalls.

    A tag is free, pending, done or dead. It is

    - *pending* from ``sent`` until its last byte, a completion that is not successful, one that does
      not fit, or a time-out. Then it is
    - *done* until ``take``, with ``failed`` if there was an error. After a time-out and after a
      completion that did not fit it is also
    - *dead*: more completions may be under way, so it must not be used for another read. It lives again
      when the completions came in full, or when :data:`QUARANTINE` ticks went by in which no tag
      died. Until then, what arrives for it is discarded.

    Parameters
    ----------
    width, tags, first_tag, max_bytes : :class:`int`
        As for :class:`~.reader.ReadChannel`, which checks them.

    Members
    -------
    completion : :py:`In(TlpSignature(width))`
        Always accepted. Packets with tags of others are ignored.
    requester_id : :py:`In(16)`
    arm, arm_ready, arm_slot, arm_expect
        A read with this slot's tag is about to be offered; ``arm`` only with ``arm_ready``.
    sent, sent_slot
        It was sent.
    expire, expire_slot
        If this slot is pending, its time is up; put off while a completion of it arrives.
    take, take_slot
        A done slot's outcome was seen.
    tick : :py:`In(1)`
        Four per time-out.
    done, failed, pending, dead : :py:`Out(tags)`
        A bit per slot.
    write, write_enable
        To the slot memory.
    ur_received, ca_received, poisoned, unexpected, timed_out : :py:`Out(1)`
        Strobes, one per packet or time-out. ``unexpected`` covers what does not fit and what is late.
    """

    def __init__(self, *, width: int, tags: int, first_tag: int, max_bytes: int):
        self.width = width
        self.tags = tags
        self.first_tag = first_tag
        self.max_bytes = max_bytes
        slot = slot_shape(tags)
        super().__init__(
            {
                "completion": In(TlpSignature(width)),
                "requester_id": In(16),
                "arm": In(1),
                "arm_ready": Out(1),
                "arm_slot": In(slot),
                "arm_expect": In(expect_layout(max_bytes)),
                "sent": In(1),
                "sent_slot": In(slot),
                "expire": In(1),
                "expire_slot": In(slot),
                "take": In(1),
                "take_slot": In(slot),
                "tick": In(1),
                "done": Out(tags),
                "failed": Out(tags),
                "pending": Out(tags),
                "dead": Out(tags),
                "write": Out(slot_write_layout(width, tags, max_bytes * 8 // width)),
                "write_enable": Out(1),
                "ur_received": Out(1),
                "ca_received": Out(1),
                "poisoned": Out(1),
                "unexpected": Out(1),
                "timed_out": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the tracker: one stage looks a packet up, the next one checks, the last one acts."""
        m = Module()
        slot_bits = slot_shape(self.tags)

        # What each tag expects. Between a packet's first beat and the next packet's nothing is stalled,
        # so a read that meets the write of the packet before must see what is written.
        m.submodules.expect = memory = Memory(
            shape=expect_layout(self.max_bytes), depth=max(self.tags, 2), init=[]
        )
        expect_write = memory.write_port()
        expect_read = memory.read_port(transparent_for=(expect_write,))

        # Look up.
        tag = self.completion.payload.header.completion.tag
        index = Signal.like(tag)  # in the range; a tag below it wraps to behind its end
        beat = Signal(tlp_layout(self.width))
        beat_valid = Signal()
        slot = Signal(slot_bits)
        ours = Signal()
        m.d.comb += [
            self.completion.ready.eq(1),
            index.eq(tag - self.first_tag),
            expect_read.addr.eq(index),
        ]
        m.d.sync += [
            beat.eq(self.completion.payload),
            beat_valid.eq(self.completion.valid),
            slot.eq(index),
            ours.eq(index < self.tags),
        ]

        # Check, with the first beat.
        header = beat.header.completion
        expect = expect_read.data
        first = Signal()
        fitting = Signal()  # of the right type, for us, and the tag waits for something
        live = Signal()
        late = Signal()
        m.d.comb += [
            first.eq(beat_valid & beat.first & ours),
            fitting.eq(
                (header.common.type == TlpType.COMPLETION)
                & (header.requester_id == self.requester_id)
                & ~header.common.tag_8
                & ~header.common.tag_9
                & (expect.remaining != 0)
            ),
            live.eq(fitting & self.pending.bit_select(slot, 1)),
            late.eq(fitting & ~self.pending.bit_select(slot, 1) & self.dead.bit_select(slot, 1)),
        ]
        dwords = Signal(11)
        offset = expect.address[:2]
        wanted = Signal(11)  # dwords that are missing
        m.d.comb += [
            dwords.eq(Cat(header.common.length, header.common.length == 0)),
            wanted.eq((expect.remaining + offset + 3) >> 2),
        ]
        success = Signal()
        matches = Signal()
        ends = Signal()
        m.d.comb += [
            success.eq(header.status == CompletionStatus.SUCCESSFUL),
            matches.eq(
                (header.common.fmt == Fmt.DATA_3DW)
                & (header.lower_address == expect.address[:7])
                & (header.byte_count == expect.remaining[:12])
                & (dwords <= wanted)
            ),
            ends.eq(~success | ~matches | (dwords == wanted)),
        ]
        m.d.comb += self.arm_ready.eq(~first)
        with m.If(first):
            m.d.comb += [
                expect_write.addr.eq(slot),
                expect_write.en.eq(live | late),
                expect_write.data.address.eq(Cat(C(0, 2), expect.address[2:] + dwords)),
            ]
            with m.If(~ends):
                m.d.comb += expect_write.data.remaining.eq(expect.remaining + offset - (dwords << 2))
        with m.Else():
            m.d.comb += [
                expect_write.addr.eq(self.arm_slot),
                expect_write.en.eq(self.arm),
                expect_write.data.eq(self.arm_expect),
            ]

        # Act.
        act_valid = Signal()
        act_last = Signal()
        act = Signal(
            data.StructLayout(
                {"open": 1, "live": 1, "late": 1, "good": 1, "fails": 1, "ends": 1, "breaks": 1}
            )
        )
        m.d.sync += [
            act_valid.eq(beat_valid),
            act_last.eq(beat.last),
            self.write.data.eq(beat.data),
            self.write.enable.eq(beat.enable),
        ]
        with m.If(beat_valid):
            m.d.sync += self.write.row.eq(self.write.row + 1)
        with m.If(act_valid & act_last):
            m.d.sync += act.eq(0)
        with m.If(first):
            m.d.sync += [
                self.write.slot.eq(slot),
                Cat(self.write.lane, self.write.row).eq(expect.address[2:]),
                act.open.eq(1),
                act.live.eq(live),
                act.late.eq(late),
                act.good.eq(success & matches & ~header.common.poisoned),
                act.fails.eq(~success | ~matches | header.common.poisoned),
                act.ends.eq(ends),
                act.breaks.eq(success & ~matches),
            ]
        m.d.comb += self.write_enable.eq(act_valid & act.live & act.good)
        m.d.sync += [
            self.ur_received.eq(
                first & live & ~success & (header.status != CompletionStatus.COMPLETER_ABORT)
            ),
            self.ca_received.eq(first & live & (header.status == CompletionStatus.COMPLETER_ABORT)),
            self.poisoned.eq(first & live & success & matches & header.common.poisoned),
            self.unexpected.eq(first & (~live | (success & ~matches))),
        ]

        # Tag states.
        acted = Signal(slot_bits)
        dies = Signal()
        quiet = Signal(range(QUARANTINE + 1))
        m.d.comb += acted.eq(self.write.slot)
        with m.If(self.tick & (quiet != QUARANTINE)):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(self.tick & (quiet == QUARANTINE)):
            m.d.sync += self.dead.eq(0)
        with m.If(dies):
            m.d.sync += quiet.eq(0)
        with m.If(self.sent):
            m.d.sync += self.pending.bit_select(self.sent_slot, 1).eq(1)
        with m.If(self.take):
            m.d.sync += [
                self.done.bit_select(self.take_slot, 1).eq(0),
                self.failed.bit_select(self.take_slot, 1).eq(0),
            ]
        with m.If(act_valid & act_last & act.live):
            with m.If(act.fails):
                m.d.sync += self.failed.bit_select(acted, 1).eq(1)
            with m.If(act.ends):
                m.d.sync += [
                    self.pending.bit_select(acted, 1).eq(0),
                    self.done.bit_select(acted, 1).eq(1),
                ]
            with m.If(act.breaks):
                m.d.comb += dies.eq(1)
                m.d.sync += self.dead.bit_select(acted, 1).eq(1)
        with m.If(act_valid & act_last & act.late & act.ends & ~act.breaks):
            m.d.sync += self.dead.bit_select(acted, 1).eq(0)

        # A time-out in the middle of the packet that would have prevented it waits for the packet's end.
        arriving = Signal()
        m.d.comb += [
            arriving.eq(
                (first & (slot == self.expire_slot)) | (act.open & act.live & (acted == self.expire_slot))
            ),
            self.timed_out.eq(self.expire & self.pending.bit_select(self.expire_slot, 1) & ~arriving),
        ]
        with m.If(self.timed_out):
            m.d.comb += dies.eq(1)
            m.d.sync += [
                self.pending.bit_select(self.expire_slot, 1).eq(0),
                self.done.bit_select(self.expire_slot, 1).eq(1),
                self.failed.bit_select(self.expire_slot, 1).eq(1),
                self.dead.bit_select(self.expire_slot, 1).eq(1),
            ]
        return m
