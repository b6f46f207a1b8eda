"""MSI-X: vector table, pending bits, messages.  [PCIe base 5.0 §6.1.4, §7.7.2]"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from virtio_spec import layout
from virtio_spec.pci import MsixEntry
from virtio_spec.wire import field_offset, size

from ..registers import RegisterBus

__all__ = ["MAX_VECTORS", "Msix", "MsixSettings", "message_layout"]

_ENTRY_DWORDS = size(MsixEntry) // 4
_CONTROL = field_offset(MsixEntry, "masked") // 4

#: Entries that fit between the table's place and the PBA's.
MAX_VECTORS = (layout.MSIX_PBA_OFFSET - layout.MSIX_TABLE_OFFSET) // size(MsixEntry)


#: Write ``data`` to the dword at ``address``, whose bits 1:0 are 0.
message_layout = data.StructLayout({"address": 64, "data": 32})


class MsixSettings(data.Struct):
    """Message Control of the MSI-X capability.  [§7.7.2.2]"""

    enable: 1
    mask: 1  # function mask


class Msix(wiring.Component):
    """Keep the vector table and turn vector requests into message writes.

    Requests are served in their order, one at a time. A vector that may be sent (unmasked, function
    unmasked, MSI-X enabled, bus master) becomes one write of 4 bytes, 6 cycles after its request;
    one that may not gets its pending bit set, and further requests for it coalesce. When it may be
    sent again, one message goes out and clears the bit. Pending vectors are looked for in turn,
    one per message or per 2 cycles, so none waits for ever. A request for a vector outside the table
    (NO_VECTOR is one) is dropped, and so is any request while MSI-X is disabled.

    A read of table or PBA is answered only between messages: a driver that masks a vector and reads
    back finds no message of it behind the answer. A vector masked while its entry is read becomes
    pending instead.

    After reset all vectors are masked and none is pending; addresses and data are what they were (the
    standard leaves them undefined). Only bit 0 of Vector Control exists.

    Parameters
    ----------
    vectors
        Table entries, 1 to 128: what fits below the PBA in ``virtio_spec.layout``.

    Members
    -------
    bus : :py:`In(RegisterBus)`
        The MSI-X BAR. Writes are taken in every cycle.
    request : :py:`In(stream.Signature(16))`
        Vectors. A request taken is a message sent or pending.
    write : :py:`Out(stream.Signature(message_layout))`
        Messages.
    settings : :py:`In(MsixSettings)`
        Enable and function mask.
    bus_master : :py:`In(1)`
        Requests of our own are allowed.
    reset : :py:`In(1)`
        While high, everything is as after reset and requests are dropped; a message already offered
        at ``write`` stays there until it is taken.
    forget : :py:`In(1)`
        The same for requests and pending bits alone: a reset of the device behind the table, which
        belongs to PCI and keeps its masks.
    idle : :py:`Out(1)`
        No message is on its way: none is offered or being made, and no pending one may be sent.
    """

    bus: In(RegisterBus)
    request: In(stream.Signature(16))
    write: Out(stream.Signature(message_layout))
    settings: In(MsixSettings)
    bus_master: In(1)
    reset: In(1)
    forget: In(1)
    idle: Out(1)

    def __init__(self, *, vectors: int):
        if vectors not in range(1, MAX_VECTORS + 1):
            raise ValueError(f"vectors is a number from 1 to {MAX_VECTORS}, not {vectors!r}")
        self.vectors = vectors
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.table = table = memory.Memory(
            shape=unsigned(32), depth=_ENTRY_DWORDS * self.vectors, init=[]
        )
        fetch = table.read_port()
        masked, pending = Signal(self.vectors, init=-1), Signal(self.vectors)
        self._bus_writes(m, table.write_port(granularity=8), masked)
        read, reading = Signal(16), Signal()  # a read waits here until no message is on its way
        with m.If(self.bus.request.valid & ~self.bus.request.p.write):
            m.d.sync += [read.eq(self.bus.request.p.address), reading.eq(1)]

        vector, inside = Signal(bits_for(self.vectors - 1)), Signal()
        requested = Signal()  # by a request; else found pending
        scan = Signal(bits_for(self.vectors - 1))  # where to look for the next pending vector
        scan_first = Signal()  # between two requests, one look for a pending vector
        step, entry = Signal(2), Signal(96)

        allowed, sendable, waiting, dropping = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            dropping.eq(self.reset | self.forget),
            allowed.eq(self.settings.enable & ~self.settings.mask & self.bus_master & ~dropping),
            sendable.eq(allowed & ~masked.bit_select(vector, 1)),
            self.write.p.address[2:].eq(entry[2:64]),  # a message is an aligned dword
            self.write.p.data.eq(entry[64:]),
        ]
        m.d.sync += [
            waiting.eq(allowed & (pending & ~masked).any()),
            self.bus.response.valid.eq(0),
        ]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += fetch.addr.eq(read[2:])
                with m.If(reading):
                    m.next = "READ"
                with m.Elif(waiting & (scan_first | ~self.request.valid)):
                    m.d.sync += [
                        vector.eq(scan),
                        inside.eq(1),
                        requested.eq(0),
                        scan_first.eq(0),
                        scan.eq(Mux(scan == self.vectors - 1, 0, scan + 1)),
                    ]
                    m.next = "DECIDE"
                with m.Elif(self.request.valid):
                    m.d.comb += self.request.ready.eq(1)
                    m.d.sync += [
                        vector.eq(self.request.payload),
                        inside.eq((self.request.payload < self.vectors) & ~dropping),
                        requested.eq(1),
                        scan_first.eq(1),
                    ]
                    m.next = "DECIDE"
            with m.State("READ"):
                m.d.sync += [
                    self.bus.response.valid.eq(1),
                    self.bus.response.payload.eq(self._read_data(m, read, fetch.data, masked, pending)),
                    reading.eq(0),
                ]
                m.next = "IDLE"
            with m.State("DECIDE"):
                m.next = "IDLE"
                with m.If(inside & sendable):
                    with m.If(requested | pending.bit_select(vector, 1)):
                        m.next = "FETCH"
                with m.Elif(inside & requested & self.settings.enable):
                    m.d.sync += pending.bit_select(vector, 1).eq(1)
            with m.State("FETCH"):
                # The data of an address comes one step later.
                m.d.comb += fetch.addr.eq(Cat(step, vector))
                m.d.sync += [step.eq(step + 1), entry.eq(Cat(entry[32:], fetch.data))]
                with m.If(step == 3):
                    with m.If(sendable):
                        m.d.sync += pending.bit_select(vector, 1).eq(0)
                        m.next = "SEND"
                    with m.Else():
                        # Masked in the meantime.
                        m.d.sync += pending.bit_select(vector, 1).eq(self.settings.enable)
                        m.next = "IDLE"
            with m.State("SEND"):
                m.d.comb += self.write.valid.eq(1)
                with m.If(self.write.ready):
                    m.next = "IDLE"

        m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & ~waiting & (dropping | ~self.request.valid))
        with m.If(dropping):
            m.d.sync += pending.eq(0)
        with m.If(self.reset):
            m.d.sync += masked.eq(-1)
        return m

    def _bus_writes(self, m: Module, port: Any, masked: Signal) -> None:
        """Take writes to the table; everything else in the BAR is read-only."""
        request = self.bus.request
        address, strobe = request.p.address, Signal()
        m.d.comb += [
            request.ready.eq(1),
            strobe.eq(request.valid & request.p.write & (address < size(MsixEntry) * self.vectors)),
            port.addr.eq(address[2:]),
            port.data.eq(request.p.data),
            port.en.eq(Mux(strobe, request.p.byte_enable, 0)),
        ]
        with m.If(strobe & (address[2:4] == _CONTROL) & request.p.byte_enable[0]):
            m.d.sync += masked.bit_select(address[4:11], 1).eq(request.p.data[0])

    def _read_data(self, m: Module, address: Signal, word: Any, masked: Signal, pending: Signal) -> Signal:
        value = Signal(32)
        with m.If(address < size(MsixEntry) * self.vectors):
            m.d.comb += value.eq(Mux(address[2:4] == _CONTROL, masked.bit_select(address[4:11], 1), word))
        for dword in range((self.vectors + 31) // 32):
            with m.If(address[2:] == layout.MSIX_PBA_OFFSET // 4 + dword):
                m.d.comb += value.eq(pending[32 * dword : 32 * dword + 32])
        return value
