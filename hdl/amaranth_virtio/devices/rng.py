"""Entropy device.  [virtio 1.4 §5.4]"""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType

from .health import HealthMonitor
from .interface import Device, DeviceTable

__all__ = ["RngDevice"]


class RngDevice(Device):
    """Fill the writable bytes of each chain with tested noise.

    Readable bytes, which a driver must not queue, are not read. Chains are served one
    after another, at width/8 bytes in width/8 + 1 cycles if the source is as fast. A reset ends the
    chain at once, that of the queue with what was gathered.

    Parameters
    ----------
    width : :class:`int`
        Of the chain streams, in bits.
    min_entropy : :class:`float`
        Assessed min-entropy of a sample of the source in bits; see :class:`HealthMonitor`.

    Members
    -------
    entropy : :py:`In(stream.Signature(8))`
        Raw samples of a noise source.
    entropy_alarm : :py:`Out(1)`
        A health test has failed; no bytes are given out until the source has recovered.
    """

    chains: Any
    entropy: Any
    entropy_alarm: Any

    def __init__(self, *, width: int, min_entropy: float = 4.0):
        self.min_entropy = min_entropy
        super().__init__(
            table=DeviceTable(
                device_type=DeviceType.ENTROPY,
                class_code=ClassCode.ENTROPY,
                features=0,
                queues=1,
                reads=False,
            ),
            width=width,
            backend={"entropy": In(stream.Signature(8)), "entropy_alarm": Out(1)},
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.health = health = HealthMonitor(min_entropy=self.min_entropy)
        wiring.connect(m, wiring.flipped(self.entropy), health.i)
        m.d.comb += self.entropy_alarm.eq(health.alarm)

        lanes = self.width // 8
        chain, writable = self.chains.chain, self.chains.writable
        reset = self.chains.reset
        left = Signal(32)  # bytes of the chain behind those gathered
        gathered = Signal(range(lanes + 1))
        m.d.comb += writable.p.count.eq(gathered)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += chain.ready.eq(1)
                m.d.sync += [
                    left.eq(chain.p.writable),
                    gathered.eq(0),
                    writable.p.token.eq(chain.p.token),
                ]
                with m.If(chain.valid & ~reset):
                    m.next = "GATHER"
            with m.State("GATHER"):
                m.d.sync += writable.p.last.eq(left == 0)
                with m.If(health.alarm & (gathered != 0)):  # dropped with all else that was held
                    m.d.sync += [left.eq(left + gathered), gathered.eq(0)]
                with m.Elif((left == 0) | (gathered == lanes)):
                    m.next = "SEND"
                with m.Else():
                    m.d.comb += health.o.ready.eq(1)
                    with m.If(health.o.valid):
                        m.d.sync += [
                            writable.p.data.word_select(gathered, 8).eq(health.o.p),
                            gathered.eq(gathered + 1),
                            left.eq(left - 1),
                        ]
                with m.If(self.chains.retire):  # of the only queue
                    m.d.sync += left.eq(0)
                with m.If(reset):
                    m.next = "IDLE"
            with m.State("SEND"):
                m.d.comb += writable.valid.eq(1)
                with m.If(writable.ready):
                    m.d.sync += gathered.eq(0)
                    m.next = "GATHER"
                    with m.If(writable.p.last):
                        m.next = "IDLE"
                with m.If(reset):
                    m.next = "IDLE"
        m.d.comb += self.chains.idle.eq(fsm.ongoing("IDLE"))
        return m
