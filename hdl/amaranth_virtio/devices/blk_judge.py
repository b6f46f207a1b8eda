"""What is to be done about a block request."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType, BlkStatus

from .storage import StorageOperation

__all__ = ["BlkJudge", "Verdict"]

SECTOR_BITS = ceil_log2(SECTOR_BYTES)


class Verdict(data.Struct):
    """Outcome of the checks.

    ``operate`` says that ``operation`` is to be carried out on ``count`` sectors; ``takes_data``, that
    the readable bytes behind the header are its data; ``identify``, that the answer is the serial id.
    ``status`` is that of the request if nothing fails later.
    """

    status: 8
    operate: 1
    takes_data: 1
    identify: 1
    operation: StorageOperation
    count: 32


class BlkJudge(wiring.Component):
    """Check a request against type, data length, capacity and the right to write.  [virtio 1.4 §5.2.6]

    Parameters
    ----------
    read_only : :class:`bool`
        Writes end with IOERR.

    Members
    -------
    header : :py:`In(BlkReqHeader)`
        The request.
    complete : :py:`In(1)`
        The chain has a whole header and room for a status; otherwise it is IOERR whatever it asks.
    data_out, data_in : :py:`In(32)`
        Readable bytes behind the header, and writable ones in front of the status.
    capacity : :py:`In(64)`
        Sectors.
    legacy : :py:`In(1)`
        On the legacy interface FLUSH_OUT is the same as FLUSH.  [§5.2.6.3]
    verdict : :py:`Out(Verdict)`
        For a header and a capacity that were the same in the cycle before.
    """

    header: In(BlkReqHeader)
    complete: In(1)
    data_out: In(32)
    data_in: In(32)
    capacity: In(64)
    legacy: In(1)
    verdict: Out(Verdict)

    def __init__(self, *, read_only: bool):
        self.read_only = read_only
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        verdict = self.verdict
        room = Signal(64)  # sectors from the first one of the request to the end
        beyond = Signal()
        m.d.sync += [
            room.eq(self.capacity - self.header.sector),
            beyond.eq(self.header.sector > self.capacity),
        ]

        is_out = self.header.type == BlkReqType.OUT
        length = Signal(32)
        fits = Signal()
        m.d.comb += [
            length.eq(Mux(is_out, self.data_out, self.data_in)),
            verdict.count.eq(length[SECTOR_BITS:]),
            fits.eq((length[:SECTOR_BITS] == 0) & ~beyond & (verdict.count <= room)),
        ]

        def transfer(operation: StorageOperation):
            with m.If(fits):
                m.d.comb += [
                    verdict.operate.eq(length != 0),
                    verdict.operation.eq(operation),
                    verdict.status.eq(BlkStatus.OK),
                ]

        def flush():
            m.d.comb += [
                verdict.operate.eq(1),
                verdict.operation.eq(StorageOperation.FLUSH),
                verdict.status.eq(BlkStatus.OK),
            ]

        m.d.comb += verdict.status.eq(BlkStatus.IOERR)
        with m.If(self.complete), m.Switch(self.header.type):
            with m.Case(BlkReqType.IN):
                transfer(StorageOperation.READ)
            with m.Case(BlkReqType.OUT):
                if not self.read_only:
                    transfer(StorageOperation.WRITE)
                    m.d.comb += verdict.takes_data.eq(verdict.operate)
            with m.Case(BlkReqType.FLUSH):
                flush()
            with m.Case(BlkReqType.FLUSH_OUT):
                m.d.comb += verdict.status.eq(BlkStatus.UNSUPP)
                with m.If(self.legacy):
                    flush()
            with m.Case(BlkReqType.GET_ID):
                m.d.comb += [verdict.identify.eq(1), verdict.status.eq(BlkStatus.OK)]
            with m.Default():
                m.d.comb += verdict.status.eq(BlkStatus.UNSUPP)
        return m
