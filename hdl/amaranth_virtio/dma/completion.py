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

#: Ticks (quarters of the time-out) without another loss, after which a channel reads again.
QUARANTINE = 5


def expect_layout(max_bytes: int) -> data.StructLayout:
    """What a tag's next completion brings.

    ``address``
        Of its first byte, modulo ``max_bytes``.
    ``remaining``
        Bytes until the request is complete; 0 when nothing more is expected.
    ``lap``
        Of the ring of tags in which the read was sent.
    ``failed``
        A completion before was poisoned.
    """
    return data.StructLayout(
        {"address": ceil_log2(max_bytes), "remaining": ceil_log2(max_bytes + 1), "lap": 1, "failed": 1}
    )


#: Outcome of a read: the lap in which it became known, and whether it failed.
MARK = data.StructLayout({"lap": 1, "failed": 1})


class CompletionTracker(wiring.Component):
    """Check the completions of a range of tags and place their data.  [PCIe base 5.0 §2.2.9, §2.3.1.1]

    The completions of one read come in address order, cut at any dword boundary; those of different
    reads in any order. Each must carry the byte count and lower address that follow from the ones
    before it, and not more dwords than are missing. Two cycles from a beat to its place in the slot
    memory; never stalls.

    What is known of a tag stands in memories, so that their number costs no logic. A read is over with its
    last byte, a completion that is not successful, one that does not fit, or a time-out. Tags are used in a
    ring, and a read is over if its mark names the lap in which it was sent.

    After a time-out, and after a completion that did not fit, more completions may be under way, which must
    not be taken for another read's: the tracker is ``wounded`` until :data:`QUARANTINE` ticks went by without
    another such event, and no read may be armed meanwhile. What arrives for a read that is over is discarded.

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
    offered, offered_slot
        The read of this slot is on offer and not sent: there is no completion of it.
    head, lap
        The oldest read's slot and lap; ``waiting``: it was sent.
    done, failed
        It is over; with an error.
    expire : :py:`In(1)`
        Its time is up; put off while a completion arrives.
    clear, clear_slot
        Forget a slot. All are to be forgotten before the first lap, which is 1; no completion is looked at
        meanwhile.
    tick : :py:`In(1)`
        Four per time-out.
    wounded : :py:`Out(1)`
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
                "offered": In(1),
                "offered_slot": In(slot),
                "head": In(slot),
                "lap": In(1),
                "waiting": In(1),
                "done": Out(1),
                "failed": Out(1),
                "expire": In(1),
                "clear": In(1),
                "clear_slot": In(slot),
                "tick": In(1),
                "wounded": Out(1),
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
        live = Signal()
        m.d.comb += [
            first.eq(beat_valid & beat.first & ours & ~self.clear),
            live.eq(
                (header.common.type == TlpType.COMPLETION)
                & (header.requester_id == self.requester_id)
                & ~header.common.tag_8
                & ~header.common.tag_9
                & (expect.remaining != 0)
                & ~(self.offered & (slot == self.offered_slot))
            ),
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
        fails = ~success | ~matches | header.common.poisoned
        m.d.comb += self.arm_ready.eq(~first & ~self.timed_out & ~self.wounded & ~self.clear)
        with m.If(self.clear):
            m.d.comb += [expect_write.addr.eq(self.clear_slot), expect_write.en.eq(1)]
        with m.Elif(first):
            m.d.comb += [
                expect_write.addr.eq(slot),
                expect_write.en.eq(live),
                expect_write.data.address.eq(Cat(C(0, 2), expect.address[2:] + dwords)),
                expect_write.data.lap.eq(expect.lap),
                expect_write.data.failed.eq(expect.failed | fails),
            ]
            with m.If(~ends):
                m.d.comb += expect_write.data.remaining.eq(expect.remaining + offset - (dwords << 2))
        with m.Elif(self.timed_out):
            m.d.comb += [expect_write.addr.eq(self.head), expect_write.en.eq(1)]
        with m.Else():
            m.d.comb += [
                expect_write.addr.eq(self.arm_slot),
                expect_write.en.eq(self.arm),
                expect_write.data.eq(self.arm_expect),
            ]

        # Act.
        act_valid = Signal()
        act_last = Signal()
        act = Signal(data.StructLayout({"live": 1, "good": 1, "ends": 1, "breaks": 1, "mark": MARK}))
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
                act.live.eq(live),
                act.good.eq(~fails),
                act.ends.eq(ends),
                act.breaks.eq(success & ~matches),
                act.mark.lap.eq(expect.lap),
                act.mark.failed.eq(expect.failed | fails),
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

        # Outcomes.
        m.submodules.marks = marks = Memory(shape=MARK, depth=max(self.tags, 2), init=[])
        put_mark = marks.write_port()
        get_mark = marks.read_port(domain="comb")
        ended = Signal()
        m.d.comb += [
            ended.eq(act_valid & act_last & act.live & act.ends),
            get_mark.addr.eq(self.head),
            self.done.eq(self.waiting & (get_mark.data.lap == self.lap)),
            self.failed.eq(get_mark.data.failed),
            put_mark.addr.eq(self.write.slot),
            put_mark.data.eq(act.mark),
            put_mark.en.eq(ended | self.timed_out | self.clear),
        ]
        with m.If(self.clear):
            m.d.comb += [put_mark.addr.eq(self.clear_slot), put_mark.data.eq(0)]
        with m.Elif(self.timed_out):
            m.d.comb += [
                put_mark.addr.eq(self.head),
                put_mark.data.lap.eq(self.lap),
                put_mark.data.failed.eq(1),
            ]
        # A time-out waits for the end of the packet that may prevent it.
        m.d.comb += self.timed_out.eq(self.expire & self.waiting & ~self.done & ~first & ~act.live)

        quiet = Signal(range(QUARANTINE + 1), init=QUARANTINE)
        m.d.comb += self.wounded.eq(quiet != QUARANTINE)
        with m.If(self.timed_out | (ended & act.breaks)):
            m.d.sync += quiet.eq(0)
        with m.Elif(self.tick & self.wounded):
            m.d.sync += quiet.eq(quiet + 1)
        return m
