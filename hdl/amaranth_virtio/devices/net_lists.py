"""Chains that wait for frames."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from .net_layout import frame_bits

__all__ = ["ChainLists", "ListPortSignature", "waiting_layout"]


def waiting_layout(quota: int, mtu: int) -> data.StructLayout:
    """A chain in a list; ``room`` is its writable bytes, or all ones if they are more."""
    return data.StructLayout({"sequence": exact_log2(quota), "room": frame_bits(mtu)})


def head_layout(quota: int) -> data.StructLayout:
    """What is kept of a list by whoever takes chains: ``head`` counts them, the rest is the taker's own."""
    bits = exact_log2(quota) + 1
    return data.StructLayout({"head": bits, "mark": 1, "marked": bits})


class ListPortSignature(wiring.Signature):
    """What the lists have for whoever takes chains (``Out`` is from the lists).

    ``pair``, ``kept``, ``tail``
        The list looked at; its counters one cycle later.
    ``take``, ``taken``
        Strobe: what is kept of the list of ``pair`` is ``taken`` from now on.
    ``place``, ``found``
        Look up a chain by ``pair`` and a counter; there one cycle later.
    """

    def __init__(self, pairs: int, quota: int, mtu: int):
        bits = exact_log2(quota) + 1
        super().__init__(
            {
                "pair": In(bits_for(pairs - 1)),
                "kept": Out(head_layout(quota)),
                "tail": Out(bits),
                "take": In(1),
                "taken": In(head_layout(quota)),
                "place": In(bits),
                "found": Out(waiting_layout(quota, mtu)),
            }
        )


class ChainLists(wiring.Component):
    """A list of chains for each pair, in memory, in the order in which they came.

    Each list is a ring of places with two counters, modulo twice the quota: ``tail`` counts chains that
    came, ``head`` those that were taken.

    Parameters
    ----------
    pairs : :class:`int`
    quota : :class:`int`
        Chains of a list at a time, a power of two.
    mtu : :class:`int`

    Members
    -------
    put : :py:`In(1)`, put_pair : :py:`In`, chain : :py:`In(waiting_layout(quota, mtu))`
        Strobe: add ``chain``. ``put_pair`` is there in the cycle before already, in which nothing is added.
    port : :py:`Out(ListPortSignature(pairs, quota, mtu))`
    clear : :py:`In(1)`, clear_pair : :py:`In`
        Empty a list.
    """

    put: Any
    put_pair: Any
    chain: Any
    port: Any
    clear: Any
    clear_pair: Any

    def __init__(self, *, pairs: int, quota: int, mtu: int):
        self.pairs = pairs
        self.quota = quota
        self.mtu = mtu
        super().__init__(
            {
                "put": In(1),
                "put_pair": In(bits_for(pairs - 1)),
                "chain": In(waiting_layout(quota, mtu)),
                "port": Out(ListPortSignature(pairs, quota, mtu)),
                "clear": In(1),
                "clear_pair": In(bits_for(pairs - 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build three memories."""
        m = Module()
        bits = exact_log2(self.quota)
        shape = waiting_layout(self.quota, self.mtu)
        m.submodules.tails = tails = Memory(shape=bits + 1, depth=self.pairs, init=[])
        m.submodules.heads = heads = Memory(shape=head_layout(self.quota), depth=self.pairs, init=[])
        m.submodules.chains = chains = Memory(shape=shape, depth=self.quota * self.pairs, init=[])
        put_tail, put_head, put_chain = tails.write_port(), heads.write_port(), chains.write_port()
        own, tail = tails.read_port(), tails.read_port()
        head, found = heads.read_port(), chains.read_port()
        port = self.port
        m.d.comb += [
            own.addr.eq(self.put_pair),
            put_chain.addr.eq(Cat(own.data[:bits], self.put_pair)),
            put_chain.data.eq(self.chain),
            put_chain.en.eq(self.put),
            put_tail.addr.eq(Mux(self.clear, self.clear_pair, self.put_pair)),
            put_tail.data.eq(Mux(self.clear, 0, own.data + 1)),
            put_tail.en.eq(self.put | self.clear),
            tail.addr.eq(port.pair),
            head.addr.eq(port.pair),
            found.addr.eq(Cat(port.place[:bits], port.pair)),
            port.tail.eq(tail.data),
            port.kept.eq(head.data),
            port.found.eq(found.data),
            put_head.addr.eq(Mux(self.clear, self.clear_pair, port.pair)),
            put_head.en.eq(port.take | self.clear),
        ]
        with m.If(~self.clear):
            m.d.comb += put_head.data.eq(port.taken)
        return m
