"""What runs between the device core and a transport's register front end."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Diagnostics

from ..chain import QUEUE

__all__ = ["QUEUE_REGISTER_BYTES", "CoreSignature", "QueueRegisters"]

QUEUE_REGISTER_BYTES = 30


class QueueRegisters(data.Struct):
    """What the driver sets up for one queue.  [virtio 1.4 §4.1.4.3]"""

    size: 16
    vector: 16
    enable: 16
    desc: 64
    driver: 64
    device: 64


class CoreSignature(wiring.Signature):
    """The register front end's side of the device core (``Out`` is driven by the transport).

    All writes are strobes that take effect at the end of the cycle; byte enables select bytes of the
    data beside them. The core ignores writes while it carries out a reset.

    ``legacy``
        The rules of the legacy interface hold: there is no FEATURES_OK, buffers may be used before
        DRIVER_OK, queues are enabled at any time. May change only while no queue is enabled.
    ``active``
        An access is under way: high from the cycle before its strobes to that of its strobes.
    ``write``, ``locked``
        ``write`` strobes when the driver writes any register, the transport's own included, but for a
        status of 0. While ``locked`` is high the transport ignores such writes: the driver uses another
        one. It stays low in front of a core with one transport.
    ``busy``
        While high the transport starts no access. Bounded: it covers the clearing of the queue
        contexts, and a reset that is carried out while status reads 0 already.
    ``clear``
        High for one cycle at the end of a reset: selectors and the like go to their initial values.
    ``status``, ``status_write``, ``status_data``
        Device status as the driver reads it, and a write to it.
    ``offered``, ``driver_features``, ``driver_features_enable``, ``driver_features_data``
        The feature words, and byte enables and data of a write to the driver's.
    ``driver_features_unknown``
        The driver writes a feature bit above 63, where none is offered.
    ``queue``, ``registers``, ``queue_enable``, ``queue_data``
        ``registers`` are those of the ``queue`` of the cycle before (``size`` 0 if there is no such
        queue). A write goes to ``queue``, which must have been the same in the cycle before.
    ``queue_reset``, ``queue_resetting``
        The driver resets ``queue``, which must have been the same in the cycle before; a reset of it is
        under way.
    ``config_vector``, ``config_vector_enable``, ``config_vector_data``
        MSI-X vector of configuration changes.
    ``config_index``, ``config_data``, ``config_read``
        Dword ``config_index`` of the device configuration in the same cycle; ``config_read`` tells
        which of its bytes the driver reads in this cycle.
    ``config_enable``, ``config_write_data``
        Byte enables and data of a write to dword ``config_index``.
    ``generation``, ``generation_read``
        Configuration generation; the strobe tells that the driver reads it in this cycle.
    ``isr``, ``isr_read``
        ISR status; the strobe clears what ``isr`` shows in the same cycle.
    ``kick``
        Queue numbers that the driver notified; any number.
    ``diagnostics``
        The diagnostics block.
    """

    def __init__(self):
        super().__init__(
            {
                "legacy": Out(1),
                "active": Out(1),
                "write": Out(1),
                "locked": In(1),
                "busy": In(1),
                "clear": In(1),
                "status": In(8),
                "status_write": Out(1),
                "status_data": Out(8),
                "offered": In(64),
                "driver_features": In(64),
                "driver_features_enable": Out(8),
                "driver_features_data": Out(64),
                "driver_features_unknown": Out(1),
                "queue": Out(QUEUE),
                "registers": In(QueueRegisters),
                "queue_enable": Out(QUEUE_REGISTER_BYTES),
                "queue_data": Out(QueueRegisters),
                "queue_reset": Out(1),
                "queue_resetting": In(1),
                "config_vector": In(16),
                "config_vector_enable": Out(2),
                "config_vector_data": Out(16),
                "config_index": Out(10),
                "config_data": In(32),
                "config_read": Out(4),
                "config_enable": Out(4),
                "config_write_data": Out(32),
                "generation": In(8),
                "generation_read": Out(1),
                "isr": In(8),
                "isr_read": Out(1),
                "kick": Out(stream.Signature(QUEUE, always_ready=True)),
                "diagnostics": In(Diagnostics),
            }
        )
