"""What the virtqueue engine can do, and what was negotiated of it."""

from dataclasses import dataclass

from amaranth.lib import data
from virtio_spec.virtio import Feature, feature_mask

__all__ = ["RingFeatures", "RingOptions"]


@dataclass(frozen=True)
class RingOptions:
    """Ring features that the engine has logic for, and that the device offers.

    Parameters
    ----------
    packed
        RING_PACKED.  [virtio 1.4 §2.8]
    indirect
        INDIRECT_DESC.  [§2.7.5.3, §2.8.7]
    event_idx
        EVENT_IDX.  [§2.7.7, §2.7.10, §2.8.10]
    in_order
        IN_ORDER: buffers are used in the order in which they were made available.  [§2.7.9, §2.8.11]
    """

    packed: bool = True
    indirect: bool = True
    event_idx: bool = True
    in_order: bool = True

    @property
    def features(self) -> int:
        """The feature bits as a word."""
        bits = {
            Feature.RING_PACKED: self.packed,
            Feature.INDIRECT_DESC: self.indirect,
            Feature.EVENT_IDX: self.event_idx,
            Feature.IN_ORDER: self.in_order,
        }
        return feature_mask(*(bit for bit, offered in bits.items() if offered))


class RingFeatures(data.Struct):
    """Accepted ring features; stable while the rings are running."""

    packed: 1
    indirect: 1
    event_idx: 1
    in_order: 1
