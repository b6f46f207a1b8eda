"""The DMA engines without rings and without a device: what they do when nothing else holds them up."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth_virtio.dma.reads import Client, Reads
from amaranth_virtio.dma.scatter import ScatterWriter
from amaranth_virtio.pcie.config_header import Identity
from amaranth_virtio.pcie.function import Function
from amaranth_virtio.tlp import RawSignature
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType

__all__ = ["READS", "TRANSFER", "WRITES", "DmaTop"]

#: Bytes of a transfer, and of the memory that each engine goes through again and again.
TRANSFER, REGION = 4096, 1 << 20
#: Start of that memory.
READS, WRITES = 0x0100_0000, 0x0180_0000
TAGS = 32


class DmaTop(wiring.Component):
    """A PCI Express function that reads and writes 4 KiB after 4 KiB, as the host says.

    Bits of any dword that the host writes into BAR 4: 0, read; 1, write.

    Parameters
    ----------
    width : :class:`int`
        Data path in bits.

    Members
    -------
    rx : :py:`In(RawSignature(width))`, tx : :py:`Out(RawSignature(width))`
        The link.
    """

    rx: Any
    tx: Any

    def __init__(self, *, width: int):
        self.width = width
        super().__init__({"rx": In(RawSignature(width)), "tx": Out(RawSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        """Build the engines above the function."""
        m = Module()
        function: Any = Function(
            width=self.width,
            identity=Identity.modern(DeviceType.ENTROPY, ClassCode.ENTROPY),
            vectors=0,
            max_payload=256,
            writers=1,
            link_speed=3,
            link_width=self.width // 32,
        )
        m.submodules.function = function
        connect(m, flipped(self.rx), function.rx)
        connect(m, function.tx, flipped(self.tx))
        control, reading = Signal(2), Signal()
        bus = function.registers
        m.d.comb += [bus.request.ready.eq(1), bus.response.valid.eq(reading)]
        m.d.sync += reading.eq(bus.request.valid & ~bus.request.payload.write)
        with m.If(bus.request.valid & bus.request.payload.write):
            m.d.sync += control.eq(bus.request.payload.data)
        self._reads(m, function, control[0])
        self._writes(m, function, control[1])
        return m

    def _reads(self, m: Module, function: Any, go: Any) -> None:
        """One request after the other; what comes is taken at once."""
        client = Client(tags=TAGS, max_bytes=512, context=unsigned(1))
        reads: Any = Reads(width=self.width, clients={"data": client}, timeout=12_500_000)
        m.submodules.reads = reads
        connect(m, reads.o, function.reads)
        connect(m, function.completion, reads.completion)
        request = reads.data_request
        m.d.comb += [
            reads.settings.eq(function.dma),
            request.valid.eq(go),
            request.payload.address.eq(self._place(m, READS, request.valid & request.ready)),
            request.payload.length.eq(TRANSFER),
            reads.data_data.ready.eq(1),
        ]

    def _writes(self, m: Module, function: Any, go: Any) -> None:
        """One chain of one segment after the other, whose data is always there."""
        writer: Any = ScatterWriter(width=self.width, max_payload=256)
        m.submodules.writer = writer
        connect(m, writer.o, function.writes[0])
        beats = TRANSFER * 8 // self.width
        beat = Signal(range(beats))
        with m.If(writer.i.valid & writer.i.ready):
            m.d.sync += beat.eq(beat + 1)
        given = Signal()
        begun = Signal()
        segment = writer.segment
        m.d.comb += [
            writer.settings.eq(function.dma),
            writer.i.valid.eq(go),
            writer.i.payload.data.eq(beat),
            writer.i.payload.count.eq(self.width // 8),
            writer.i.payload.last.eq(beat == beats - 1),
            writer.begin.ready.eq(~begun),
            segment.valid.eq(begun),
            segment.payload.exists.eq(~given),
            segment.payload.segment.address.eq(self._place(m, WRITES, writer.end)),
            segment.payload.segment.length.eq(TRANSFER),
            writer.done.ready.eq(1),
        ]
        with m.If(writer.begin.valid & writer.begin.ready):
            m.d.sync += begun.eq(1)
        with m.If(segment.valid & segment.ready):
            m.d.sync += given.eq(1)
        with m.If(writer.end):
            m.d.sync += [begun.eq(0), given.eq(0)]

    def _place(self, m: Module, base: int, step: Any) -> Any:
        """An address that goes on to the next transfer with ``step``."""
        number = Signal(range(REGION // TRANSFER), name=f"place_{base:x}")
        with m.If(step):
            m.d.sync += number.eq(number + 1)
        return Cat(Const(0, TRANSFER.bit_length() - 1), number, Const(base // REGION, 44))
