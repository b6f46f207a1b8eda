"""A disk in block RAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from virtio_spec.blk import SECTOR_BYTES

from .commit_fifo import CommitFifo
from .storage import StorageOperation, StorageRequest, StorageSignature

__all__ = ["RamDisk"]


class RamDisk(wiring.Component):
    """A storage in block RAM: one beat per cycle, no operation fails, every write is as durable as any.

    A sector is stored once it is complete, so an aborted write leaves whole sectors.

    Parameters
    ----------
    width : :class:`int`
        Of the data streams in bits.
    sectors : :class:`int`
        Capacity in sectors of 512 bytes.
    init : :class:`bytes`
        Content at power-up from sector 0 on; zeros behind it.

    Members
    -------
    storage : :py:`In(StorageSignature(width))`
        The block device.
    """

    def __init__(self, *, width: int, sectors: int, init: bytes = b""):
        if sectors < 1:
            raise ValueError(f"sectors must be at least 1, not {sectors}")
        if len(init) > sectors * SECTOR_BYTES:
            raise ValueError(f"init has {len(init)} bytes, more than {sectors} sectors")
        self.width = width
        self.sectors = sectors
        self.init = bytes(init)
        super().__init__({"storage": In(StorageSignature(width))})

    def elaborate(self, platform):
        m = Module()
        lanes = self.width // 8
        beats = SECTOR_BYTES // lanes
        beat_bits = beats.bit_length() - 1
        words = [
            int.from_bytes(self.init[at : at + lanes], "little") for at in range(0, len(self.init), lanes)
        ]
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.sectors * beats, init=words)
        # Beats of a sector wait here until it is complete; room for two keeps the stream going.
        m.submodules.waiting = waiting = CommitFifo(shape=self.width, depth=2 * beats)
        read = memory.read_port()
        write = memory.write_port()

        storage = self.storage
        request = Signal(StorageRequest)
        address = Signal(range(self.sectors * beats))
        left = Signal(32 + beat_bits)
        filled = Signal(beat_bits)  # beats of the sector that is coming in
        m.d.comb += [
            storage.capacity.eq(self.sectors),
            read.addr.eq(address),
            write.addr.eq(address),
            write.data.eq(waiting.o.p),
            waiting.i.p.eq(storage.write_data.p.data),
            storage.read_data.p.data.eq(read.data),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [storage.request.ready.eq(1), request.eq(storage.request.p)]
                m.d.sync += [
                    address.eq(request.sector << beat_bits),
                    left.eq(request.count << beat_bits),
                    filled.eq(0),
                ]
                with m.If(storage.request.valid):
                    with m.Switch(request.operation):
                        with m.Case(StorageOperation.READ):
                            m.next = "READ"
                        with m.Case(StorageOperation.WRITE):
                            m.next = "WRITE"
                        with m.Default():
                            m.next = "RESPOND"
            with m.State("READ"):
                valid = Signal()
                m.d.comb += [
                    storage.read_data.valid.eq(valid),
                    read.en.eq((left != 0) & (~valid | storage.read_data.ready)),
                ]
                with m.If(read.en):
                    m.d.sync += [address.eq(address + 1), left.eq(left - 1), valid.eq(1)]
                with m.Elif(storage.read_data.ready):
                    m.d.sync += valid.eq(0)
                    with m.If(left == 0):
                        m.next = "RESPOND"
            with m.State("WRITE"):
                beat = storage.write_data
                m.d.comb += [
                    waiting.i.valid.eq(beat.valid & ~beat.p.abort),
                    beat.ready.eq(waiting.i.ready | beat.p.abort),
                ]
                with m.If(beat.valid & beat.ready):
                    m.d.comb += [
                        waiting.commit.eq(~beat.p.abort & (filled == beats - 1)),
                        waiting.discard.eq(beat.p.abort),
                    ]
                    m.d.sync += filled.eq(filled + 1)
                    with m.If(beat.p.last):
                        m.next = "STORE"
            with m.State("STORE"), m.If(waiting.empty):
                m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += storage.response.valid.eq(1)
                with m.If(storage.response.ready):
                    m.next = "IDLE"

        m.d.comb += waiting.o.ready.eq(1)
        with m.If(waiting.o.valid):
            m.d.comb += write.en.eq(1)
            m.d.sync += address.eq(address + 1)
        return m
