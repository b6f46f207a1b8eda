"""Completions of all reads: what they must look like, and where they belong."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.tlp import CompletionStatus, Fmt, TlpType

from ..tlp import TlpSignature, tlp_layout
from .slots import slot_write_layout

__all__ = ["CompletionTracker", "expect_layout", "outcome_layout"]


def expect_layout(max_bytes: int) -> data.StructLayout:
    """What a tag's next completion brings.

    ``address``
        Of its first byte, modulo ``max_bytes``.
    ``remaining``
        Bytes until the request is complete; 0 when nothing more is expected.
    ``dwords``
        In which these bytes lie.
    ``lap``
        Of the ring of tags in which the read was sent.
    ``failed``
        A completion before was poisoned.
    """
    return data.StructLayout(
        {
            "address": ceil_log2(max_bytes),
            "remaining": ceil_log2(max_bytes + 1),
            "dwords": ceil_log2(max_bytes // 4 + 1),
            "lap": 1,
            "failed": 1,
        }
    )


#: How the read of ``tag``, which was sent in lap ``lap``, ended. After ``breaks`` more completions may come.
outcome_layout = data.StructLayout({"tag": 8, "lap": 1, "failed": 1, "breaks": 1})


class CompletionTracker(wiring.Component):
    """Check completions and place their data.  [PCIe base 5.0 §2.2.9, §2.3.1.1]

    The completions of one read come in address order, cut at any dword boundary; those of different
    reads in any order. Each must carry the byte count and lower address that follow from the ones
    before it, and not more dwords than are missing. Two cycles from a beat to its place in the slot
    memory; never stalls.

    What is known of a tag stands in a memory, so that their number costs no logic. A read is over with its
    last byte, a completion that is not successful, one that does not fit, or when its channel forgets it.
    What arrives for a read that is over is discarded.

    Parameters
    ----------
    width : :class:`int`
    channels : sequence of sequences of :class:`range`
        Tags of each channel.
    max_bytes : :class:`int`
        Most bytes of a read; a power of two.

    Members
    -------
    completion : :py:`In(TlpSignature(width))`
        Always accepted.
    requester_id : :py:`In(16)`
    arm, arm_ready, arm_tag, arm_expect
        A read with this tag is about to be offered; ``arm`` only with ``arm_ready``.
    offered, offered_tag
        The read of this tag is on offer and not sent: there is no completion of it.
    forget, forget_tag, forgot : arrays, one per channel
        The channel's tag expects nothing any more from the cycle of ``forgot`` on. Put off while a completion
        arrives.
    ended : :py:`Out(len(channels))`, outcome : :py:`Out(outcome_layout)`
        A read of this channel is over.
    write, write_enable
        To the slot memories of all channels, and that of one.
    ur_received, ca_received, poisoned, unexpected : :py:`Out(1)`
        Strobes, one per packet. ``unexpected`` covers what does not fit, what is late, and tags of nobody.
    """

    def __init__(self, *, width: int, channels: Sequence[Sequence[range]], max_bytes: int):
        self.width = width
        self.channels = tuple(channels)
        self.max_bytes = max_bytes
        self.tags = max(tags.stop for ranges in channels for tags in ranges)
        count = len(self.channels)
        super().__init__(
            {
                "completion": In(TlpSignature(width)),
                "requester_id": In(16),
                "arm": In(1),
                "arm_ready": Out(1),
                "arm_tag": In(8),
                "arm_expect": In(expect_layout(max_bytes)),
                "offered": In(1),
                "offered_tag": In(8),
                "forget": In(1).array(count),
                "forget_tag": In(8).array(count),
                "forgot": Out(1).array(count),
                "ended": Out(count),
                "outcome": Out(outcome_layout),
                "write": Out(slot_write_layout(width, max_bytes)),
                "write_enable": Out(count),
                "ur_received": Out(1),
                "ca_received": Out(1),
                "poisoned": Out(1),
                "unexpected": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the tracker: one stage looks a packet up, the next one checks, the last one acts."""
        m = Module()
        count = len(self.channels)

        # What each tag expects. Between a packet's first beat and the next packet's nothing is stalled,
        # so a read that meets the write of the packet before must see what is written.
        m.submodules.expect = memory = Memory(
            shape=expect_layout(self.max_bytes), depth=max(self.tags, 2), init=[]
        )
        expect_write = memory.write_port()
        expect_read = memory.read_port(transparent_for=(expect_write,))

        # Look up.
        tag = self.completion.payload.header.completion.tag
        beat = Signal(tlp_layout(self.width))
        beat_valid = Signal()
        owner = Signal(count)
        m.d.comb += [self.completion.ready.eq(1), expect_read.addr.eq(tag)]
        m.d.sync += [
            beat.eq(self.completion.payload),
            beat_valid.eq(self.completion.valid),
            # In a range: a tag below it wraps to behind its end.
            owner.eq(
                Cat(
                    Cat((tag - tags.start)[: len(tag)] < len(tags) for tags in ranges if tags).any()
                    for ranges in self.channels
                )
            ),
        ]

        # Check, with the first beat.
        header = beat.header.completion
        expect = expect_read.data
        starts = Signal()  # of any packet
        first = Signal()  # of one whose tag is somebody's
        live = Signal()
        m.d.comb += [
            starts.eq(beat_valid & beat.first),
            first.eq(starts & owner.any()),
            live.eq(
                (header.common.type == TlpType.COMPLETION)
                & (header.requester_id == self.requester_id)
                & ~header.common.tag_8
                & ~header.common.tag_9
                & (expect.remaining != 0)
                & ~(self.offered & (header.tag == self.offered_tag))
            ),
        ]
        dwords = Signal(11)
        offset = expect.address[:2]
        m.d.comb += dwords.eq(Cat(header.common.length, header.common.length == 0))
        success = Signal()
        matches = Signal()
        ends = Signal()
        m.d.comb += [
            success.eq(header.status == CompletionStatus.SUCCESSFUL),
            matches.eq(
                (header.common.fmt == Fmt.DATA_3DW)
                & (header.lower_address == expect.address[:7])
                & (header.byte_count == expect.remaining[:12])
                & (dwords <= expect.dwords)
            ),
            ends.eq(~success | ~matches | (dwords == expect.dwords)),
        ]
        fails = ~success | ~matches | header.common.poisoned

        # Act.
        lane_bits = ceil_log2(self.width // 32)
        act_valid = Signal()
        act_last = Signal()
        act = Signal(data.StructLayout({"owner": count, "live": 1, "good": 1, "ends": 1}))
        lane = Signal(lane_bits)
        payload = Signal(self.width)
        enable = Signal(self.width // 32)
        m.d.sync += [
            act_valid.eq(beat_valid),
            act_last.eq(beat.last),
            payload.eq(beat.data),
            enable.eq(beat.enable),
        ]
        with m.If(beat_valid):
            m.d.sync += self.write.row.eq(self.write.row + 1)
        with m.If(act_valid & act_last):
            m.d.sync += act.eq(0)
        with m.If(first):
            m.d.sync += [
                self.write.tag.eq(header.tag),
                Cat(lane, self.write.row).eq(expect.address[2:]),
                act.owner.eq(owner),
                act.live.eq(live),
                act.good.eq(~fails),
                act.ends.eq(ends),
                self.outcome.breaks.eq(success & ~matches),
                self.outcome.lap.eq(expect.lap),
                self.outcome.failed.eq(expect.failed | fails),
            ]
        ended = act_valid & act_last & act.live & act.ends
        m.d.comb += [
            self.write_enable.eq(Mux(act_valid & act.live & act.good, act.owner, 0)),
            self.outcome.tag.eq(self.write.tag),
            self.ended.eq(Mux(ended, act.owner, 0)),
        ]
        self._place(m, payload, enable, lane)
        m.d.sync += [
            self.ur_received.eq(
                first & live & ~success & (header.status != CompletionStatus.COMPLETER_ABORT)
            ),
            self.ca_received.eq(first & live & (header.status == CompletionStatus.COMPLETER_ABORT)),
            self.poisoned.eq(first & live & success & matches & header.common.poisoned),
            self.unexpected.eq(starts & (~owner.any() | ~live | (success & ~matches))),
        ]

        # What a completion leaves to expect, or a channel says.
        free = ~first & ~act.live  # a time-out waits for the end of the packet that may prevent it
        m.d.comb += self.arm_ready.eq(~first & ~Cat(*self.forget).any())
        with m.If(first):
            m.d.comb += [
                expect_write.addr.eq(header.tag),
                expect_write.en.eq(live),
                expect_write.data.address.eq(Cat(C(0, 2), expect.address[2:] + dwords)),
                expect_write.data.lap.eq(expect.lap),
                expect_write.data.failed.eq(expect.failed | fails),
            ]
            with m.If(~ends):
                m.d.comb += [
                    expect_write.data.remaining.eq(expect.remaining + offset - (dwords << 2)),
                    expect_write.data.dwords.eq(expect.dwords - dwords),
                ]
        for forget, forget_tag, forgot in zip(self.forget, self.forget_tag, self.forgot, strict=True):
            with m.Elif(forget):
                m.d.comb += [
                    expect_write.addr.eq(forget_tag),
                    expect_write.en.eq(free),
                    forgot.eq(free),
                ]
        with m.Else():
            m.d.comb += [
                expect_write.addr.eq(self.arm_tag),
                expect_write.en.eq(self.arm),
                expect_write.data.eq(self.arm_expect),
            ]
        return m

    def _place(self, m: Module, payload: Any, enable: Any, lane: Any) -> None:
        """Turn the dwords into their lanes; those that come round to the first ones are in the next row."""
        lanes = self.width // 32
        doubled = Signal(2 * lanes)
        levels: Any = payload
        for bit in range(len(lane)):
            level = Signal(self.width, name=f"turned_{bit}")
            m.d.comb += level.eq(Mux(lane[bit], levels.rotate_left(32 << bit), levels))
            levels = level
        m.d.comb += [
            doubled.eq(enable << lane),
            self.write.data.eq(levels),
            self.write.enable.eq(doubled[:lanes] | doubled[lanes:]),
            self.write.wraps.eq(Cat(*(lane > number for number in range(lanes - 1)))),
            self.write.behind.eq(self.write.row + 1),
        ]
