"""What a driver negotiates and uses of the rings."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import product

from virtio_spec.virtio import Feature, feature_mask

__all__ = ["COVERING", "PLAIN", "RING_FEATURES", "RingVariant", "Variants", "variants"]

#: The feature that stands for each attribute of a :class:`RingVariant`, and its part of the name.
_FEATURES = {
    "packed": (Feature.RING_PACKED, "packed"),
    "indirect": (Feature.INDIRECT_DESC, "indirect"),
    "event_idx": (Feature.EVENT_IDX, "event"),
    "in_order": (Feature.IN_ORDER, "order"),
    "notification_data": (Feature.NOTIFICATION_DATA, "data"),
    "notif_config_data": (Feature.NOTIF_CONFIG_DATA, "id"),
    "ring_reset": (Feature.RING_RESET, "reset"),
}
#: Features that a driver accepts only because its variant says so, whatever else it would like.
RING_FEATURES = feature_mask(*(feature for feature, _ in _FEATURES.values()))
#: Those that the legacy interface has bits for.
LEGACY_FEATURES = 0xFFFF_FFFF


@dataclass(frozen=True)
class RingVariant:
    """The ring features that a driver negotiates, and then uses; by default none of them.

    Attributes
    ----------
    packed
        Packed rings instead of split ones.
    indirect
        Chains, or the ends of chains, in tables of their own.
    event_idx
        Notifications of both sides by a place in the ring.
    in_order
        Chains come back in the order in which they were made available.
    notification_data, notif_config_data
        What a kick says besides the queue, and how it names the queue.
    ring_reset
        Queues can be reset one by one.
    """

    packed: bool = False
    indirect: bool = False
    event_idx: bool = False
    in_order: bool = False
    notification_data: bool = False
    notif_config_data: bool = False
    ring_reset: bool = False

    @property
    def features(self) -> int:
        """The feature bits."""
        return feature_mask(*(feature for name, (feature, _) in _FEATURES.items() if getattr(self, name)))

    @property
    def name(self) -> str:
        """``split`` or ``packed``, and then what else there is: ``packed-indirect-event``."""
        words = [word for name, (_, word) in _FEATURES.items() if getattr(self, name)]
        return "-".join(words if self.packed else ["split", *words])

    @classmethod
    def named(cls, name: str) -> "RingVariant":
        """The one with this name; ``ValueError``."""
        words = name.split("-")
        values = {attribute: word in words for attribute, (_, word) in _FEATURES.items()}
        if (found := cls(**values)).name != name:
            raise ValueError(f"there is no variant of rings {name!r}")
        return found

    @property
    def ring(self) -> "RingVariant":
        """Without what does not concern the ring itself: notifications' contents and resets."""
        return replace(self, notification_data=False, notif_config_data=False, ring_reset=False)

    def __str__(self) -> str:
        return self.name


#: What every device can do.
PLAIN = RingVariant()

#: Says of a variant whether a case is for it.
Variants = Callable[[RingVariant], bool]


def variants(transport: str = "modern") -> tuple[RingVariant, ...]:
    """Split or packed, direct or indirect, with or without event index and in order: all 16, plain first.

    On the ``"legacy"`` transport the 4 that there are feature bits for.
    """
    names = [field.name for field in fields(RingVariant)][:4]
    found = [
        RingVariant(**dict(zip(names, values, strict=True))) for values in product((False, True), repeat=4)
    ]
    limit = LEGACY_FEATURES if transport == "legacy" else ~0
    return tuple(variant for variant in found if not variant.features & ~limit)


#: A selection of :func:`variants` in which any two features occur in all four combinations.
COVERING = tuple(
    RingVariant.named(name)
    for name in (
        "split",
        "split-indirect-event-order",
        "packed-event-order",
        "packed-indirect-order",
        "packed-indirect-event",
    )
)
