"""Requests that are several operations: DISCARD and WRITE_ZEROES."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from virtio_spec.blk import BlkStatus

from .storage import response_layout, tag_shape

__all__ = ["STATUS", "ClearTracker", "ending_layout"]

STATUS = unsigned(2)  # a BlkStatus


def ending_layout(requests: int) -> data.StructLayout:
    """The end of a request without data from the storage; ``identify``: the answer is the serial id."""
    return data.StructLayout({"tag": tag_shape(requests), "status": STATUS, "identify": 1})


class ClearTracker(wiring.Component):
    """Wait for all operations of one DISCARD or WRITE_ZEROES.

    Parameters
    ----------
    requests : :class:`int`
        Number of tags.
    segments : :class:`int`
        Greatest number of operations of a request.

    Members
    -------
    begin : :py:`In(1)`, tag : :py:`In(n)`
        Strobe: there is one, with this tag. Only while not ``active``.
    issue : :py:`In(1)`
        Strobe: an operation of it is on its way, with a tag of its own, which is at ``tag`` now.
    seal : :py:`In(1)`, status : :py:`In(2)`
        Strobe: there will be no more; ``status`` is that of the request if no operation fails.
    i, o : streams of :func:`response_layout`
        Responses of the storage, and those of them that belong to others.
    free : :py:`Out(1)`, freed : :py:`Out(n)`, busy : :py:`In(1)`
        Strobe: an operation's tag is not in use any more; not in cycles in which ``busy`` is high.
    done : :py:`Out(stream)` of :func:`ending_layout`
        The request is over.
    active : :py:`Out(1)`
        From the cycle after ``begin`` until ``done`` is taken.
    """

    begin: Any
    tag: Any
    issue: Any
    seal: Any
    status: Any
    i: Any
    o: Any
    free: Any
    freed: Any
    busy: Any
    done: Any
    active: Any

    def __init__(self, *, requests: int, segments: int):
        self.requests = requests
        self.segments = segments
        responses = stream.Signature(response_layout(requests))
        super().__init__(
            {
                "begin": In(1),
                "tag": In(tag_shape(requests)),
                "issue": In(1),
                "seal": In(1),
                "status": In(STATUS),
                "i": In(responses),
                "o": Out(responses),
                "free": Out(1),
                "freed": Out(tag_shape(requests)),
                "busy": In(1),
                "done": Out(stream.Signature(ending_layout(requests))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        tag = Signal(tag_shape(self.requests))
        owned = Signal(self.requests)  # a bit for each tag of an operation
        pending = Signal(bits_for(self.segments))
        sealed, failed = Signal(), Signal()
        status = Signal(STATUS)
        mine, answered = Signal(), Signal()
        m.d.comb += [
            mine.eq(owned.bit_select(self.i.p.tag, 1)),
            answered.eq(mine & self.i.valid & ~self.busy),
            self.free.eq(answered),
            self.freed.eq(self.i.p.tag),
            self.o.valid.eq(self.i.valid & ~mine),
            self.o.p.eq(self.i.p),
            self.i.ready.eq(Mux(mine, ~self.busy, self.o.ready)),
            self.done.valid.eq(sealed & (pending == 0)),
            self.done.p.tag.eq(tag),
            self.done.p.status.eq(Mux(failed & (status == BlkStatus.OK), BlkStatus.IOERR, status)),
        ]
        m.d.sync += [
            pending.eq(pending + self.issue - answered),
            failed.eq((failed | (answered & self.i.p.error)) & ~self.begin),
        ]
        with m.If(answered):
            m.d.sync += owned.bit_select(self.i.p.tag, 1).eq(0)
        with m.If(self.issue):
            m.d.sync += owned.bit_select(self.tag, 1).eq(1)
        with m.If(self.seal):
            m.d.sync += [sealed.eq(1), status.eq(self.status)]
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += [sealed.eq(0), self.active.eq(0)]
        with m.If(self.begin):
            m.d.sync += [self.active.eq(1), tag.eq(self.tag)]
        return m
