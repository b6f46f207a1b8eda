"""Queue contexts."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from virtio_spec.split import MAX_QUEUE_SIZE
from virtio_spec.virtio import NO_VECTOR

from ..chain import QUEUE
from ..rings.layout import QueueLookup
from .interface import QUEUE_REGISTER_BYTES, QueueRegisters

__all__ = ["MAX_QUEUES", "QueueContexts", "check_queues"]

MAX_QUEUES = 256


def check_queues(queues: int, queue_size: int) -> None:
    """Raise a ``ValueError`` unless a device can have this many queues, or none, of this size."""
    if not 0 <= queues <= MAX_QUEUES:
        raise ValueError(f"queues must be 0 to {MAX_QUEUES}, not {queues}")
    if not 1 <= queue_size <= MAX_QUEUE_SIZE or queue_size & (queue_size - 1):
        raise ValueError(f"queue_size must be a power of two up to {MAX_QUEUE_SIZE}, not {queue_size}")


class Row(data.Struct):
    """A queue context in memory, whole bytes."""

    size: 16
    enable: 1
    resetting: 1
    unused: 6
    desc: 64
    driver: 64
    device: 64


class QueueContexts(wiring.Component):
    """What the driver set up per queue, in memory.  [virtio 1.4 §4.1.4.3]

    A write to ``size`` counts only if the outcome is a power of two up to ``queue_size``, or any number from
    1 to it with ``any_size``; one to ``enable`` only if 1 is written and ``enable_allowed`` is high. From
    then on all but ``vector`` is frozen. A vector the function does not have reads as NO_VECTOR. Writes to a
    queue that does not exist are ignored, and it reads as ``size`` 0.

    An enabled queue can be reset: it reads as ``resetting`` until its context is cleared, and is then as
    after a reset of the device.  [virtio 1.4 §2.6.1]

    Parameters
    ----------
    queues : :class:`int`
        Number of queues, 1 to 256.
    queue_size : :class:`int`
        Greatest queue size, a power of two up to 32768; the size after a reset.
    vectors : :class:`int`
        MSI-X vectors of the function.

    Members
    -------
    queue : :py:`In(16)`, registers : :py:`Out(QueueRegisters)`
        Registers of the ``queue`` of the cycle before.
    write : :py:`In(30)`, data : :py:`In(QueueRegisters)`
        Byte enables and data of a write to ``queue``, unchanged since the cycle before.
    enable_allowed : :py:`In(1)`
        Queues may be enabled.
    any_size : :py:`In(1)`
        Rings are packed.
    reset : :py:`In(1)`, resetting : :py:`Out(1)`
        Reset ``queue``, unchanged since the cycle before; its reset has begun and not ended.
    resets : :py:`Out(stream.Signature(QUEUE, always_ready=True))`
        Enabled queues that are to be reset.
    clear : :py:`In(1)`, clear_queue : :py:`In(QUEUE)`, cleared : :py:`Out(1)`
        The reset of ``clear_queue`` ends as soon as there is no write.
    sweep : :py:`In(1)`, swept : :py:`Out(1)`
        While ``sweep`` is high, one context per cycle is cleared; ``swept`` with the last.
    lookup : array of three :py:`In(QueueLookup)`
        Read ports of the engine. Only for queues that exist.
    vector_queue : :py:`In(16)`, vector : :py:`Out(16)`
        Vector of the ``vector_queue`` of the cycle before; only for queues that exist.
    """

    def __init__(self, *, queues: int, queue_size: int, vectors: int):
        if not queues:
            raise ValueError("there are no contexts without queues")
        check_queues(queues, queue_size)
        self.queues = queues
        self.queue_size = queue_size
        self.vectors = vectors
        super().__init__(
            {
                "queue": In(QUEUE),
                "registers": Out(QueueRegisters),
                "write": In(QUEUE_REGISTER_BYTES),
                "data": In(QueueRegisters),
                "enable_allowed": In(1),
                "any_size": In(1),
                "reset": In(1),
                "resetting": Out(1),
                "resets": Out(stream.Signature(QUEUE, always_ready=True)),
                "clear": In(1),
                "clear_queue": In(QUEUE),
                "cleared": Out(1),
                "sweep": In(1),
                "swept": Out(1),
                "lookup": In(QueueLookup).array(3),
                "vector_queue": In(QUEUE),
                "vector": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        initial = self.queue_size  # Row with only its size set
        m.submodules.contexts = contexts = Memory(
            shape=Row.as_shape().size, depth=self.queues, init=[initial] * self.queues
        )
        m.submodules.vectors = vectors = Memory(shape=16, depth=self.queues, init=[NO_VECTOR] * self.queues)
        context_write = contexts.write_port(granularity=8)
        vector_write = vectors.write_port(granularity=8)
        context_read = contexts.read_port()
        vector_read = vectors.read_port()
        dispatch_read = vectors.read_port()
        row: Any = Row(context_read.data)
        exists = self.queue < self.queues

        def mapped(vector):
            return Mux(vector < self.vectors, vector, NO_VECTOR)

        m.d.comb += [
            context_read.addr.eq(self.queue),
            vector_read.addr.eq(self.queue),
            dispatch_read.addr.eq(self.vector_queue),
            self.vector.eq(mapped(dispatch_read.data)),
            self.registers.vector.eq(NO_VECTOR),
        ]
        with m.If(exists):
            m.d.comb += [
                self.registers.size.eq(row.size),
                self.registers.vector.eq(mapped(vector_read.data)),
                self.registers.enable.eq(row.enable),
                self.resetting.eq(row.resetting),
                self.registers.desc.eq(row.desc),
                self.registers.driver.eq(row.driver),
                self.registers.device.eq(row.device),
            ]
        for port in self.lookup:
            read = contexts.read_port()
            found: Any = Row(read.data)
            m.d.comb += [
                read.addr.eq(port.queue),
                port.context.size.eq(found.size),
                port.context.enable.eq(found.enable),
                port.context.desc.eq(found.desc),
                port.context.driver.eq(found.driver),
                port.context.device.eq(found.device),
            ]

        # A write, field by field: size, enable and the three addresses share one memory.
        size_write, vector_bytes, enable_write = self.write[0:2], self.write[2:4], self.write[4:6]
        size = Signal(16)
        for byte in range(2):
            m.d.comb += size.word_select(byte, 8).eq(
                Mux(size_write[byte], self.data.size.word_select(byte, 8), row.size.word_select(byte, 8))
            )
        power_of_two = Cat(size == 1 << power for power in range(self.queue_size.bit_length())).any()
        legal = power_of_two | (self.any_size & (size != 0) & (size < self.queue_size))
        one = (self.data.enable & Cat(bit.replicate(8) for bit in enable_write)) == 1
        beginning = Signal()
        m.d.comb += [
            beginning.eq(self.reset & exists & row.enable & ~row.resetting & ~self.sweep),
            self.resets.valid.eq(beginning),
            self.resets.payload.eq(self.queue),
            self.cleared.eq(self.clear & ~self.write.any() & ~self.reset & ~self.sweep),
        ]
        with m.If(self.sweep | self.cleared):
            m.d.comb += [
                context_write.data.eq(initial),
                context_write.en.eq(-1),
                vector_write.data.eq(NO_VECTOR),
                vector_write.en.eq(-1),
            ]
        with m.Elif(exists):
            stored: Any = Row(context_write.data)
            m.d.comb += [
                stored.size.eq(self.data.size),
                stored.enable.eq(1),
                stored.resetting.eq(beginning),
                stored.desc.eq(self.data.desc),
                stored.driver.eq(self.data.driver),
                stored.device.eq(self.data.device),
                vector_write.data.eq(self.data.vector),
                vector_write.en.eq(vector_bytes),
            ]
            with m.If(~row.enable):
                m.d.comb += [
                    context_write.en[0:2].eq(Mux(legal, size_write, 0)),
                    context_write.en[2].eq(one & self.enable_allowed),
                    context_write.en[3:].eq(self.write[6:]),
                ]
            with m.Elif(beginning):
                m.d.comb += context_write.en[2].eq(1)

        swept = Signal(range(self.queues))
        target = Mux(self.sweep, swept, Mux(self.cleared, self.clear_queue, self.queue))
        m.d.comb += [
            context_write.addr.eq(target),
            vector_write.addr.eq(target),
            self.swept.eq(self.sweep & (swept == self.queues - 1)),
        ]
        with m.If(self.swept | ~self.sweep):
            m.d.sync += swept.eq(0)
        with m.Else():
            m.d.sync += swept.eq(swept + 1)
        return m
