"""Which chains a frame goes to."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from ..chain import TOKEN
from .net_layout import frame_bits, job_layout, judged_layout, part_layout
from .net_lists import ListPortSignature

__all__ = ["ReceivePlanner"]


class ReceivePlanner(wiring.Component):
    """Choose the pair for each frame, and take as many of its chains as are needed.  [virtio 1.4 §5.1.6.4]

    The pair is that of the flow if it is active and not being reset, else the first that is; without one
    the frame is dropped. Without MRG_RXBUF a frame goes into one chain, or is dropped if it does not fit.

    A frame whose pair has not got enough chains waits for them. That holds up frames behind it, which may
    be for other pairs: so if there are some, and another active pair, it waits ``patience`` cycles and is
    dropped then, and what comes after it for the same pair is dropped at once, until that has got another
    chain.

    5 cycles per frame in one chain; in several it is 3, and 6 for each chain. While a queue is reset, its
    chains are given back, one after each frame.  [§2.6.1] From then on until it gets a chain again, its
    frames are for the first pair that has a queue, and dropped if none has.  [§5.1.6.5.6] Reset is that of
    the clock domain.

    Parameters
    ----------
    width, mtu, pairs, quota, patience : :class:`int`
        As in :class:`NetDevice`.

    Members
    -------
    frame : :py:`In(stream of judged_layout(width, mtu, pairs))`
    behind : :py:`In(1)`
        There are more than that on ``frame``.
    mergeable : :py:`In(1)`
        MRG_RXBUF.
    active : :py:`In`
        Number of active pairs.
    retire : :py:`In(1)`, retire_pair : :py:`In`
        The receive queue of this pair is being reset.
    put : :py:`In(1)`, put_pair : :py:`In`
        It has got a chain.
    lists : :py:`In(ListPortSignature(pairs, quota, mtu))`
        The chains.
    job : :py:`Out(stream of job_layout(width, mtu, quota))`
        For each frame.
    part : :py:`Out(stream of part_layout(mtu))`
        What goes into which chain; the frame's ``job`` comes with the first of its parts or before.
    """

    frame: Any
    behind: Any
    mergeable: Any
    active: Any
    retire: Any
    retire_pair: Any
    put: Any
    put_pair: Any
    lists: Any
    job: Any
    part: Any

    def __init__(self, *, width: int, mtu: int, pairs: int, quota: int, patience: int):
        self.width = width
        self.mtu = mtu
        self.pairs = pairs
        self.quota = quota
        self.patience = patience
        super().__init__(
            {
                "frame": In(stream.Signature(judged_layout(width, mtu, pairs))),
                "behind": In(1),
                "mergeable": In(1),
                "active": In(bits_for(pairs)),
                "retire": In(1),
                "retire_pair": In(bits_for(pairs)),
                "put": In(1),
                "put_pair": In(bits_for(pairs)),
                "lists": In(ListPortSignature(pairs, quota, mtu)),
                "job": Out(stream.Signature(job_layout(width, mtu, quota))),
                "part": Out(stream.Signature(part_layout(mtu))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM: choose, look up the list, look at one chain after another."""
        m = Module()
        bits = exact_log2(self.quota)
        lists, job, part = self.lists, self.job.payload, self.part.payload
        frame = Signal.like(self.frame.payload)  # the one that is looked at
        looked = Signal()  # there is one
        look = Signal.like(self.frame.payload)
        m.d.comb += look.eq(Mux(looked, frame, self.frame.payload))
        chosen, open_pair = self._choose(m, look)
        give = Signal()
        pair = Signal.like(lists.pair)
        giving, turn = Signal(), Signal()  # a chain is given back and no frame looked at; next time one is
        emitting = Signal()  # the frame fits, and its chains are handed out
        place, head, tail, following = (
            Signal(bits + 1, name=name) for name in ("place", "head", "tail", "following")
        )
        starved = Signal()  # nothing has come since a frame was dropped because of that
        several = Signal()  # chains were looked at before this one
        count = Signal(range(self.quota + 1))  # they and this one
        room, left = Signal(frame_bits(self.mtu)), Signal(frame_bits(self.mtu))
        sequence = Signal(bits)
        waited = Signal(range(self.patience + 1))
        free, fits, alone = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~self.job.valid & ~self.part.valid),
            fits.eq(room >= left),
            alone.eq(~self.behind & ~self.frame.valid),
            following.eq(place + 1),
            lists.pair.eq(pair),
            lists.place.eq(place),
            lists.taken.head.eq(following),
            lists.taken.marked.eq(tail),
        ]
        with m.If(self.job.ready):
            m.d.sync += self.job.valid.eq(0)
        with m.If(self.part.ready):
            m.d.sync += self.part.valid.eq(0)
        with m.If(~self.job.valid):
            m.d.sync += [
                job.rows.eq(frame.rows),
                job.tail.eq(frame.tail),
                job.checked.eq(frame.checked),
                job.buffers.eq(count),
            ]
        with m.If(~self.part.valid):
            m.d.sync += [
                part.token.eq(Cat(sequence, Const(0, 1), pair)[: TOKEN.width]),
                part.count.eq(Mux(giving, 0, Mux(fits, left, room))),
                part.more.eq(~fits & ~giving),
            ]
        with m.If(waited != self.patience):
            m.d.sync += waited.eq(waited + 1)

        def start_job(*, drop: int) -> None:
            m.d.sync += [self.job.valid.eq(1), job.drop.eq(drop)]

        def finish() -> None:
            m.d.sync += [looked.eq(0), waited.eq(0)]
            m.next = "LOOK"

        with m.FSM():
            with m.State("LOOK"):
                m.d.comb += give.eq(self.retire & (turn | ~(looked | self.frame.valid)))
                m.d.sync += [giving.eq(give), emitting.eq(0)]
                with m.If(give):
                    m.d.sync += [pair.eq(self.retire_pair), turn.eq(0)]
                    m.next = "LIST"
                with m.Elif(looked | self.frame.valid):
                    m.d.comb += self.frame.ready.eq(~looked)
                    m.d.sync += [pair.eq(chosen), turn.eq(1), looked.eq(1), frame.eq(look)]
                    m.next = "LIST"
                    with m.If(~look.wanted | ~open_pair):
                        m.next = "DROP"
            with m.State("DROP"):
                with m.If(free):
                    start_job(drop=1)
                    finish()
            with m.State("LIST"):
                m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += lists.place.eq(lists.kept.head)
                m.d.sync += [
                    head.eq(lists.kept.head),
                    place.eq(lists.kept.head),
                    tail.eq(lists.tail),
                    starved.eq(lists.kept.mark & (lists.kept.marked == lists.tail)),
                    left.eq(frame.total),
                    several.eq(0),
                    count.eq(1),
                ]
                m.next = "ROOM"
            with m.State("NEXT"):
                m.next = "ROOM"
            with m.State("ROOM"):
                m.d.sync += [room.eq(lists.found.room), sequence.eq(lists.found.sequence)]
                m.next = "DECIDE"
                with m.If(place == tail):
                    m.next = "SHORT"
            with m.State("DECIDE"):
                with m.If(giving):
                    with m.If(free):
                        m.d.sync += self.part.valid.eq(1)
                        m.d.comb += lists.take.eq(1)
                        m.next = "LOOK"
                with m.Elif(emitting):
                    with m.If(~self.part.valid):
                        m.d.sync += [self.part.valid.eq(1), place.eq(following), left.eq(left - room)]
                        m.next = "NEXT"
                        with m.If(fits):
                            m.d.comb += lists.take.eq(1)
                            finish()
                with m.Elif(fits):
                    with m.If(free):
                        start_job(drop=0)
                        with m.If(several):
                            m.d.sync += [emitting.eq(1), place.eq(head), left.eq(frame.total)]
                            m.next = "NEXT"
                        with m.Else():
                            m.d.sync += self.part.valid.eq(1)
                            m.d.comb += lists.take.eq(1)
                            finish()
                with m.Elif(self.mergeable):
                    m.d.sync += [
                        left.eq(left - room),
                        place.eq(following),
                        count.eq(count + 1),
                        several.eq(1),
                    ]
                    m.next = "NEXT"
                with m.Else():
                    m.next = "DROP"
            with m.State("SHORT"):
                m.d.comb += [lists.taken.head.eq(head), lists.taken.mark.eq(1)]
                with m.If(giving | alone | (self.active == 1) | ((waited != self.patience) & ~starved)):
                    m.next = "LOOK"
                with m.Elif(free):
                    m.d.comb += lists.take.eq(1)
                    start_job(drop=1)
                    finish()
        return m

    def _choose(self, m: Module, frame: Any) -> tuple[Any, Any]:
        """The pair for a frame, and whether there is one that has a queue."""
        closed = Signal(self.pairs)  # reset, and no chain has come since
        with m.If(self.put):
            m.d.sync += closed.bit_select(self.put_pair, 1).eq(0)
        with m.If(self.retire):
            m.d.sync += closed.bit_select(self.retire_pair, 1).eq(1)
        if self.pairs == 1:
            return 0, ~closed
        first, some = Signal(range(self.pairs)), Signal()  # the first one that is not
        m.d.sync += some.eq(~closed.all())
        for pair in reversed(range(self.pairs)):
            with m.If(~closed[pair]):
                m.d.sync += first.eq(pair)
        chosen, found = Signal(range(self.pairs)), Signal()
        known = frame.pair
        with m.If((known < self.active) & ~closed.bit_select(known, 1)):
            m.d.comb += [chosen.eq(known), found.eq(1)]
        with m.Else():
            m.d.comb += [chosen.eq(first), found.eq(some & (first < self.active))]
        return chosen, found
