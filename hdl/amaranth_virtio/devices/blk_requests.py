"""From chains to storage operations and back."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.blk import ID_BYTES, BlkReqHeader, BlkStatus
from virtio_spec.wire import size

from ..chain import TOKEN, ChainSignature
from .blk_judge import BlkJudge
from .storage import StorageOperation, StorageSignature, write_beat_layout

__all__ = ["BlkRequests"]

HEADER_BYTES = size(BlkReqHeader)


class BlkRequests(wiring.Component):
    """Carry out one block request after another.  [virtio 1.4 §5.2.6]

    A chain goes through three stages: its header is taken in and judged, the storage operates, and
    what is left of the writable bytes is filled and closed with the status. The rules are those of
    :class:`BlkDevice`.

    Parameters
    ----------
    width : :class:`int`
        Of chain streams and storage in bits.
    read_only : :class:`bool`
        Refuse writes.
    serial : :class:`bytes`
        Answer to GET_ID, up to 20 bytes.

    Members
    -------
    chains : :py:`In(ChainSignature(width))`
        Requests.
    storage : :py:`Out(StorageSignature(width))`
        What is behind the device; its ``capacity`` is not looked at.
    capacity : :py:`In(64)`
        Sectors, as the driver is told.
    write_back : :py:`In(1)`
        The driver flushes where it wants its writes to be stable; otherwise each write is flushed.
    legacy : :py:`In(1)`
        FLUSH_OUT is the same as FLUSH.
    """

    chains: Any
    storage: Any
    capacity: Any
    write_back: Any
    legacy: Any

    def __init__(self, *, width: int, read_only: bool, serial: bytes):
        self.width = width
        self.read_only = read_only
        self.serial = serial
        # The chain
        self._data_out, self._data_in = Signal(32), Signal(32)  # bytes but for header and status
        self._short = Signal()  # no whole header
        self._no_status = Signal()  # no room for a status
        self._header: Any = Signal(BlkReqHeader)
        # Data in front of the next beat's, where a beat is longer than the header.
        self._carry = Signal(width - 8 * HEADER_BYTES) if width > 8 * HEADER_BYTES else Const(0, 0)
        self._seen_last = Signal()
        self._aborted = Signal()
        # The answer
        self._status = Signal(8)
        self._fill = Signal(8 * ID_BYTES)  # what is left of the answer to GET_ID
        self._left = Signal(32)  # writable bytes in front of the status
        super().__init__(
            {
                "chains": In(ChainSignature(width)),
                "storage": Out(StorageSignature(width)),
                "capacity": In(64),
                "write_back": In(1),
                "legacy": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.judge = judge = BlkJudge(read_only=self.read_only)
        m.d.comb += [
            judge.header.eq(self._header),
            judge.complete.eq(~self._short & ~self._no_status),
            judge.data_out.eq(self._data_out),
            judge.data_in.eq(self._data_in),
            judge.capacity.eq(self.capacity),
            judge.legacy.eq(self.legacy),
        ]
        with m.If(self.storage.write_data.ready):
            m.d.sync += self.storage.write_data.valid.eq(0)
        with m.FSM() as fsm:
            self._take_in(m)
            self._decide(m, judge.verdict)
            self._operate(m)
            self._answer(m)
        m.d.comb += self.chains.idle.eq(fsm.ongoing("IDLE"))
        return m

    def _take_in(self, m: Module) -> None:
        chain, readable, reset = self.chains.chain, self.chains.readable, self.chains.reset
        token = Signal(TOKEN)
        m.d.comb += self.chains.writable.p.token.eq(token)

        with m.State("IDLE"):
            m.d.comb += chain.ready.eq(~reset)
            m.d.sync += [
                token.eq(chain.p.token),
                self._data_out.eq(chain.p.readable - HEADER_BYTES),
                self._data_in.eq(chain.p.writable - 1),
                self._left.eq(chain.p.writable - 1),
                self._short.eq(chain.p.readable < HEADER_BYTES),
                self._no_status.eq(chain.p.writable == 0),
                self._seen_last.eq(chain.p.readable == 0),
                self._aborted.eq(0),
            ]
            with m.If(chain.valid & ~reset):
                m.next = "HEADER"
                with m.If(chain.p.readable == 0):
                    m.next = "JUDGE"
        with m.State("HEADER"):
            m.d.comb += readable.ready.eq(1)
            second = Signal()  # of the two beats at width 64
            with m.If(readable.valid):
                m.d.sync += [self._seen_last.eq(readable.p.last), self._aborted.eq(readable.p.error)]
                if self.width < 8 * HEADER_BYTES:
                    m.d.sync += [
                        self._header.eq(Cat(self._header.as_value()[self.width :], readable.p.data)),
                        second.eq(~second & ~readable.p.last),
                    ]
                    complete = second
                else:
                    m.d.sync += self._header.eq(readable.p.data[: 8 * HEADER_BYTES])
                    self._keep(m)
                    complete = Const(1)
                with m.If(complete | readable.p.last):
                    m.next = "JUDGE"
            with m.If(reset):
                m.d.sync += second.eq(0)
                m.next = "IDLE"

    def _keep(self, m: Module) -> None:
        """Keep what the header shifts into the next beat of storage data."""
        if len(self._carry):
            m.d.sync += self._carry.eq(self.chains.readable.p.data[8 * HEADER_BYTES :])

    def _decide(self, m: Module, verdict: Any) -> None:
        readable, reset, request = self.chains.readable, self.chains.reset, self.storage.request
        with m.State("JUDGE"):  # takes a cycle
            m.next = "DECIDE"
        with m.State("DECIDE"):
            m.d.sync += [
                self._status.eq(verdict.status),
                request.p.operation.eq(verdict.operation),
                request.p.sector.eq(self._header.sector),
                request.p.count.eq(verdict.count),
                self._fill.eq(Mux(verdict.identify, int.from_bytes(self.serial, "little"), 0)),
            ]
            with m.If(reset):
                m.next = "IDLE"
            with m.Elif(self._aborted):
                m.next = "GIVE_UP"
            with m.Elif(~self._seen_last & ~verdict.takes_data):
                m.next = "SWALLOW"
            with m.Elif(verdict.operate):
                m.next = "REQUEST"
            with m.Else():
                m.next = "FILL"
        with m.State("SWALLOW"):  # readable bytes that nobody wants
            m.d.comb += readable.ready.eq(1)
            with m.If(readable.valid & readable.p.last):
                m.d.sync += [self._seen_last.eq(1), self._aborted.eq(readable.p.error)]
                m.next = "DECIDE"
            with m.If(reset):
                m.next = "IDLE"

    def _operate(self, m: Module) -> None:
        readable, writable, reset = self.chains.readable, self.chains.writable, self.chains.reset
        request, response = self.storage.request, self.storage.response
        read_data, write_data = self.storage.read_data, self.storage.write_data
        lanes = self.width // 8
        write_free = ~write_data.valid | write_data.ready

        with m.State("REQUEST"):
            m.d.comb += request.valid.eq(1)
            with m.If(request.ready), m.Switch(request.p.operation):
                with m.Case(StorageOperation.READ):
                    m.next = "READ"
                with m.Case(StorageOperation.WRITE):
                    m.next = "WRITE"
                with m.Default():
                    m.next = "RESPONSE"
        with m.State("READ"):
            m.d.comb += [
                writable.valid.eq(read_data.valid),
                writable.p.data.eq(read_data.p.data),
                writable.p.count.eq(lanes),
                read_data.ready.eq(writable.ready | reset),
            ]
            with m.If(read_data.valid & read_data.ready):
                m.d.sync += self._left.eq(self._left - lanes)
                with m.If(read_data.p.error):
                    m.d.sync += self._status.eq(BlkStatus.IOERR)
                with m.If(self._left == lanes):
                    m.next = "RESPONSE"
        with m.State("WRITE"):
            m.d.comb += readable.ready.eq(write_free & ~reset)
            with m.If(write_free & (readable.valid | reset)):
                beat = Signal(write_beat_layout(self.width))
                m.d.comb += [
                    beat.data.eq(Cat(self._carry, readable.p.data)),
                    beat.abort.eq(reset | readable.p.error),
                    beat.last.eq(reset | readable.p.last),
                ]
                m.d.sync += [
                    write_data.valid.eq(1),
                    write_data.p.eq(beat),
                ]
                self._keep(m)
                with m.If(beat.last):
                    m.d.sync += self._aborted.eq(beat.abort)
                    m.next = "RESPONSE"
        with m.State("RESPONSE"):
            m.d.comb += response.ready.eq(1)
            with m.If(response.valid):
                written = request.p.operation == StorageOperation.WRITE
                with m.If(response.p.error):
                    m.d.sync += self._status.eq(BlkStatus.IOERR)
                with m.If(reset):
                    m.next = "IDLE"
                with m.Elif(self._aborted):
                    m.next = "GIVE_UP"
                with m.Elif(written & ~response.p.error & ~self.write_back):
                    m.d.sync += request.p.operation.eq(StorageOperation.FLUSH)
                    m.next = "REQUEST"
                with m.Else():
                    m.next = "FILL"

    def _answer(self, m: Module) -> None:
        writable, reset = self.chains.writable, self.chains.reset
        lanes = self.width // 8
        with m.State("FILL"):
            count = Signal(range(lanes + 1))
            m.d.comb += [
                count.eq(Mux(self._left > lanes, lanes, self._left)),
                writable.valid.eq((self._left != 0) & ~self._no_status),
                writable.p.data.eq(self._fill),
                writable.p.count.eq(count),
            ]
            with m.If(self._no_status):
                m.next = "GIVE_UP"
            with m.Elif(self._left == 0):
                m.next = "STATUS"
            with m.Elif(writable.ready):
                m.d.sync += [self._left.eq(self._left - count), self._fill.eq(self._fill >> self.width)]
            with m.If(reset):
                m.next = "IDLE"
        with m.State("STATUS"):
            m.d.comb += [
                writable.valid.eq(1),
                writable.p.data.eq(self._status),
                writable.p.count.eq(1),
                writable.p.last.eq(1),
            ]
            with m.If(writable.ready | reset):
                m.next = "IDLE"
        with m.State("GIVE_UP"):  # completed, with nothing in it
            m.d.comb += [writable.valid.eq(1), writable.p.last.eq(1)]
            with m.If(writable.ready | reset):
                m.next = "IDLE"
