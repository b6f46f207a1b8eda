"""Which of the rings' features a device offers.  [virtio 1.4 §6]"""

from dataclasses import dataclass

from virtio_spec.virtio import Feature, feature_mask

__all__ = ["ALL", "PLAIN", "RingOptions"]


@dataclass(frozen=True, kw_only=True)
class RingOptions:
    """Features of rings and notifications, each offered or not.

    Parameters
    ----------
    packed, indirect, event_idx, in_order, ring_reset, notification_data, notif_config_data
        RING_PACKED, INDIRECT_DESC, EVENT_IDX, IN_ORDER, RING_RESET, NOTIFICATION_DATA and
        NOTIF_CONFIG_DATA. On the legacy interface there are INDIRECT_DESC and EVENT_IDX only.
    """

    packed: bool = True
    indirect: bool = True
    event_idx: bool = True
    in_order: bool = True
    ring_reset: bool = True
    notification_data: bool = True
    notif_config_data: bool = True

    @property
    def features(self) -> int:
        """Feature bits of what is offered."""
        bits = {
            Feature.RING_PACKED: self.packed,
            Feature.INDIRECT_DESC: self.indirect,
            Feature.EVENT_IDX: self.event_idx,
            Feature.IN_ORDER: self.in_order,
            Feature.RING_RESET: self.ring_reset,
            Feature.NOTIFICATION_DATA: self.notification_data,
            Feature.NOTIF_CONFIG_DATA: self.notif_config_data,
        }
        return feature_mask(*(bit for bit, offered in bits.items() if offered))


#: Everything.
ALL = RingOptions()
#: Split rings and nothing else.
PLAIN = RingOptions(
    packed=False,
    indirect=False,
    event_idx=False,
    in_order=False,
    ring_reset=False,
    notification_data=False,
    notif_config_data=False,
)
