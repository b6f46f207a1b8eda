"""The chains of all queues, sorted by what they are for."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from ..chain import QUEUE, Chain, readable_layout
from .net_layout import CompletedChain, frame_bits
from .net_lists import waiting_layout

__all__ = ["ChainSorter"]


class ChainSorter(wiring.Component):
    """Sort chains and their readable bytes by queue: receive, transmit, control.  [virtio 1.4 §5.1.2]

    A chain for reception takes 2 cycles. One that has readable bytes is completed without being used, once
    these have come. So is a frame to be sent, once it was read, and at once if it has no bytes; and a command
    without bytes, as an error. The last queue is of no use if it is not the control queue: its chains are
    completed, too.

    Parameters
    ----------
    width, mtu, pairs, quota : :class:`int`
        As in :class:`NetDevice`.

    Members
    -------
    chain, readable : :py:`In(stream)`
        As in :class:`ChainSignature`.
    control_queue : :py:`In(QUEUE)`
        The number of the control queue.
    put : :py:`Out(1)`, put_pair : :py:`Out`, waiting : :py:`Out(waiting_layout(quota, mtu))`
        To :class:`ChainLists`.
    frame, command : :py:`Out(stream of readable_layout(width))`
        Readable bytes of what is to be sent, and of commands.
    answer : :py:`In(stream of CompletedChain)`
        Commands that were carried out.
    completed : :py:`Out(stream of CompletedChain)`
    """

    chain: Any
    readable: Any
    control_queue: Any
    put: Any
    put_pair: Any
    waiting: Any
    frame: Any
    command: Any
    answer: Any
    completed: Any

    def __init__(self, *, width: int, mtu: int, pairs: int, quota: int):
        self.width = width
        self.mtu = mtu
        self.pairs = pairs
        self.quota = quota
        bytes_ = stream.Signature(readable_layout(width))
        super().__init__(
            {
                "chain": In(stream.Signature(Chain)),
                "readable": In(bytes_),
                "control_queue": In(QUEUE),
                "put": Out(1),
                "put_pair": Out(bits_for(pairs - 1)),
                "waiting": Out(waiting_layout(quota, mtu)),
                "frame": Out(bytes_),
                "command": Out(bytes_),
                "answer": In(stream.Signature(CompletedChain)),
                "completed": Out(stream.Signature(CompletedChain)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the choice by queue number on either stream, and put together what they complete."""
        m = Module()
        bits = exact_log2(self.quota)
        # Whether a command has room for its answer.
        m.submodules.rooms = rooms = Memory(shape=1, depth=self.quota, init=[])
        put_room, room = rooms.write_port(), rooms.read_port(domain="comb")

        # Readable bytes; a chain's token says which queue it is of.
        readable, token = self.readable, self.readable.payload.token
        sends, commands, ends, passes = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            sends.eq(token[bits]),
            commands.eq(~sends & (token[bits + 1 :] == self.control_queue[1:])),
            ends.eq(readable.payload.last & ~commands),
            # What completes a chain waits until that can be said.
            passes.eq(~ends | self.completed.ready),
            self.frame.payload.eq(readable.payload),
            self.command.payload.eq(readable.payload),
            self.frame.valid.eq(readable.valid & sends & passes),
            self.command.valid.eq(readable.valid & commands),
            readable.ready.eq(Mux(commands, self.command.ready, Mux(sends, self.frame.ready, 1) & passes)),
        ]
        over = Signal()  # readable bytes end that complete their chain
        m.d.comb += over.eq(readable.valid & ends & Mux(sends, self.frame.ready, 1))

        chain = self.chain.payload
        receives, answered, empty, looked, at_once = Signal(), Signal(), Signal(), Signal(), Signal()
        most = (1 << frame_bits(self.mtu)) - 1
        fraction = frame_bits(self.mtu)
        m.d.comb += [
            answered.eq(chain.queue == self.control_queue),
            receives.eq(~chain.queue[0] & ~answered & (chain.queue != 2 * self.pairs)),
            empty.eq(chain.readable == 0),
            self.put_pair.eq(chain.queue[1:]),
            self.waiting.sequence.eq(chain.token),
            self.waiting.room.eq(Mux(chain.writable[fraction:].any(), most, chain.writable)),
            put_room.addr.eq(chain.token),
            put_room.data.eq(chain.writable != 0),
            put_room.en.eq(self.chain.valid & answered),
            self.put.eq(self.chain.valid & looked & receives & empty),
            at_once.eq(self.chain.valid & ~receives & empty),
            room.addr.eq(Mux(self.answer.valid, self.answer.payload.token, chain.token)),
        ]
        m.d.sync += looked.eq(self.chain.valid & receives & empty & ~looked)

        # Whoever holds up the readable bytes comes first.
        done, wins = self.completed.payload, Signal()
        m.d.comb += [
            wins.eq(~over & ~self.answer.valid),
            self.completed.valid.eq(over | self.answer.valid | at_once),
            done.token.eq(Mux(over, token, Mux(self.answer.valid, self.answer.payload.token, chain.token))),
            done.error.eq(Mux(self.answer.valid, self.answer.payload.error, 1)),
            self.answer.ready.eq(~over & self.completed.ready),
            self.chain.ready.eq(Mux(receives, looked | ~empty, ~empty | (wins & self.completed.ready))),
        ]
        with m.If(~over):
            m.d.comb += done.acknowledge.eq(Mux(self.answer.valid, room.data, answered & put_room.data))
        return m
