"""ISR status and the way from an event to its vector."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.virtio import NO_VECTOR

from ..chain import QUEUE

__all__ = ["InterruptDispatch"]


class InterruptDispatch(wiring.Component):
    """Events become ISR bits, and then vectors.  [virtio 1.4 §4.1.4.5, §4.1.5.3, §4.1.5.4]

    An event takes two cycles, and its vector is offered in the second one after it was taken; its ISR bit is
    set before. An event in the cycle of an ISR read or an acknowledgement shows in the next read. A
    configuration change that cannot be told yet (before DRIVER_OK) is kept until it can.

    Members
    -------
    interrupt : :py:`In(stream.Signature(16))`
        Queues whose used ring the driver is to be told of.
    config_changed : :py:`In(1)`
        Strobe: the driver is to be told of a configuration change.
    enabled : :py:`In(1)`
        Configuration changes may be told.
    reset : :py:`In(1)`
        While high, events are dropped; a vector that is already offered stays until it is taken.
    clear : :py:`In(1)`
        Strobe: ISR status becomes 0.
    msix_enable : :py:`In(1)`
        MSI-X is enabled; otherwise there are no vectors.
    config_vector : :py:`In(16)`
        Vector of configuration changes, or NO_VECTOR.
    vector_queue : :py:`Out(16)`, queue_vector : :py:`In(16)`
        The vector of the ``vector_queue`` of the cycle before, or NO_VECTOR.
    vector : :py:`Out(stream.Signature(16))`
        Vectors to be signalled.
    isr : :py:`Out(8)`, isr_read : :py:`In(1)`
        ISR status; a read clears it.
    acknowledge : :py:`In(1)`
        Strobe: the driver took note of a configuration change elsewhere; clears bit 1 of the ISR status.
    idle : :py:`Out(1)`
        No event is under way.
    """

    interrupt: In(stream.Signature(QUEUE))
    config_changed: In(1)
    enabled: In(1)
    reset: In(1)
    clear: In(1)
    msix_enable: In(1)
    config_vector: In(16)
    vector_queue: Out(QUEUE)
    queue_vector: In(16)
    vector: Out(stream.Signature(16))
    isr: Out(8)
    isr_read: In(1)
    acknowledge: In(1)
    idle: Out(1)

    def elaborate(self, platform):
        m = Module()
        config_pending = Signal()
        is_config = Signal()

        with m.If(self.isr_read | self.clear):
            m.d.sync += self.isr.eq(0)
        with m.If(self.acknowledge):
            m.d.sync += self.isr[1].eq(0)

        # An event is taken when its vector, one cycle later, finds room.
        room = ~self.vector.valid | self.vector.ready
        vector = Signal(16)
        m.d.comb += [
            self.vector_queue.eq(self.interrupt.p),
            vector.eq(Mux(is_config, self.config_vector, self.queue_vector)),
        ]
        with m.If(self.vector.ready):
            m.d.sync += self.vector.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(~self.vector.valid)
                with m.If(self.reset):
                    m.d.comb += self.interrupt.ready.eq(1)
                with m.Elif(config_pending & self.enabled):
                    with m.If(room):
                        m.d.sync += [self.isr[1].eq(1), config_pending.eq(0), is_config.eq(1)]
                        m.next = "LOOK_UP"
                with m.Else():
                    m.d.comb += self.interrupt.ready.eq(room)
                    with m.If(self.interrupt.valid & room):
                        m.d.sync += [self.isr[0].eq(1), is_config.eq(0)]
                        m.next = "LOOK_UP"
            with m.State("LOOK_UP"):
                m.d.sync += [
                    self.vector.p.eq(vector),
                    self.vector.valid.eq(self.msix_enable & (vector != NO_VECTOR)),
                ]
                m.next = "IDLE"

        with m.If(self.reset):
            m.d.sync += config_pending.eq(0)
        with m.Elif(self.config_changed):
            m.d.sync += config_pending.eq(1)
        return m
