"""What a block device writes: data that was read, and how each request ended."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.blk import ID_BYTES, BlkStatus

from ..chain import TOKEN, writable_layout
from .blk_clear import STATUS, ending_layout
from .storage import read_beat_layout, response_layout, tag_shape

__all__ = ["BlkAnswer", "Place"]


class Place(data.Struct):
    """Where the answer to a request goes: the chain, and how many bytes can be written there."""

    token: TOKEN
    writable: 32


class BlkAnswer(wiring.Component):
    """Put data and status into the chains of requests, whichever is done first.

    Data read passes through; the status follows it in the next cycle, and the next request's data in
    the one behind. A request without data takes two cycles, and one more per beat of zeros. Requests
    with data and others take turns.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    requests : :class:`int`
        Number of tags.
    serial : :class:`bytes`
        Answer to GET_ID, up to 20 bytes.

    Members
    -------
    read_data, response : :py:`In(stream)` of :func:`read_beat_layout`, :func:`response_layout`
        Of the storage.
    ending : :py:`In(stream)` of :func:`ending_layout`
        Requests that end without the storage.
    tag : :py:`Out(n)`, place : :py:`In(Place)`
        Memory of places, to be read in the same cycle.
    writable : :py:`Out(stream)` of :func:`writable_layout`
        To the chains.
    reset : :py:`In(1)`
        Nobody takes what is written; all goes on as if it were taken.
    free : :py:`Out(1)`, freed : :py:`Out(n)`
        Strobe: the request with this tag is over.
    """

    read_data: Any
    response: Any
    ending: Any
    tag: Any
    place: Any
    writable: Any
    reset: Any
    free: Any
    freed: Any

    def __init__(self, *, width: int, requests: int, serial: bytes):
        self.width = width
        self.requests = requests
        self.serial = serial
        self._beats = -(-8 * ID_BYTES // width)
        self._number = Signal(range(self._beats + 1))  # beats of the serial id that were sent
        super().__init__(
            {
                "read_data": In(stream.Signature(read_beat_layout(width, requests))),
                "response": In(stream.Signature(response_layout(requests))),
                "ending": In(stream.Signature(ending_layout(requests))),
                "tag": Out(tag_shape(requests)),
                "place": In(Place),
                "writable": Out(stream.Signature(writable_layout(width))),
                "reset": In(1),
                "free": Out(1),
                "freed": Out(tag_shape(requests)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 8
        read_data, writable = self.read_data, self.writable
        left = Signal(32)  # writable bytes that were not written, but for data read; status included
        status = Signal(STATUS)
        identify = Signal()
        pick = Signal()  # a request ends in this cycle, or none is there
        go = Signal()
        token = Signal(TOKEN)
        reading = Signal()
        made = Signal(self.width)  # a beat that is not from the storage
        read_next = self._pick(m, pick, token, left, status, identify)
        m.d.comb += [
            go.eq(writable.ready | self.reset),
            writable.p.token.eq(token),
            writable.p.data.eq(Mux(reading, read_data.p.data, 0) | made),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += pick.eq(1)
                self._go_on(m, read_next)
            with m.State("READ"):
                m.d.comb += [
                    reading.eq(1),
                    writable.valid.eq(read_data.valid),
                    writable.p.count.eq(lanes),
                    read_data.ready.eq(go),
                ]
                with m.If(read_data.valid & go):
                    with m.If(read_data.p.error):
                        m.d.sync += status.eq(BlkStatus.IOERR)
                    with m.If(read_data.p.last):
                        m.next = "STATUS"
            with m.State("FILL"):
                shift = ceil_log2(lanes)
                many = Signal()  # a full beat, and the status is still to come
                several = Signal()
                m.d.comb += [
                    many.eq(left[shift + 1 :].any() | (left[shift] & left[:shift].any())),
                    several.eq(many | left[1 : shift + 1].any()),
                    writable.valid.eq(several),
                    made.eq(self._serial(m, identify, several & go)),
                    writable.p.count.eq(Mux(many, lanes, (left - 1)[: shift + 1])),
                ]
                with m.If(go & many):
                    m.d.sync += left[shift:].eq(left[shift:] - 1)
                with m.If((go & ~many) | ~several | self.reset):
                    m.next = "STATUS"
            with m.State("STATUS"):
                m.d.comb += [
                    writable.valid.eq(1),
                    made.eq(status),
                    writable.p.count.eq(left.any()),
                    writable.p.last.eq(1),
                    self.free.eq(go),
                    pick.eq(go),
                ]
                with m.If(go):
                    self._go_on(m, read_next)
        return m

    def _pick(self, m: Module, pick: Any, token: Any, left: Any, status: Any, identify: Any) -> Any:
        """Choose the next request, and note all about it; high if it is one that reads."""
        read_data, response, ending = self.read_data, self.response, self.ending
        after_others = Signal()
        read_next = Signal()
        m.d.comb += [
            read_next.eq(read_data.valid & (after_others | ~(response.valid | ending.valid))),
            response.ready.eq(pick & ~read_next),
            ending.ready.eq(pick & ~read_next & ~response.valid),
            self.tag.eq(Mux(read_next, read_data.p.tag, Mux(response.valid, response.p.tag, ending.p.tag))),
        ]
        with m.If(pick):
            m.d.sync += [
                after_others.eq(~read_next & (response.valid | ending.valid)),
                self.freed.eq(self.tag),
                token.eq(self.place.token),
                left.eq(self.place.writable),
                status.eq(
                    Mux(
                        read_next,
                        BlkStatus.OK,
                        Mux(
                            response.valid,
                            Mux(response.p.error, BlkStatus.IOERR, BlkStatus.OK),
                            ending.p.status,
                        ),
                    )
                ),
                self._number.eq(0),
                identify.eq(~response.valid & ending.p.identify),
            ]
        return read_next

    def _go_on(self, m: Module, read_next: Any) -> None:
        m.next = "IDLE"
        with m.If(read_next):
            m.next = "READ"
        with m.Elif(self.response.valid | self.ending.valid):
            m.next = "FILL"

    def _serial(self, m: Module, identify: Any, taken: Any) -> Any:
        """The beat of zeros, or of the serial id, that comes next."""
        text = int.from_bytes(self.serial, "little")
        beats = self._beats
        number = self._number
        with m.If(taken & (number != beats)):
            m.d.sync += number.eq(number + 1)
        beat = Const(0, self.width)
        for at in range(beats):
            word = Const(text >> self.width * at & (1 << self.width) - 1, self.width)
            beat = Mux(identify & (number == at), word, beat)
        return beat
