"""The PCI Express capability of an endpoint, as data.  [PCIe base 5.0 §7.5.3]"""

from typing import Any

from virtio_spec.pci import Capability as CapabilityId
from virtio_spec.pci import DeviceControl, DeviceStatus

from .capabilities import Capability
from .config_registers import Access, Field

__all__ = ["express"]

_DEVICE_CONTROL = 0x08
_DEVICE_STATUS = 0x0A


def _device_control() -> tuple[Field, ...]:
    # Hardwired to 0 here: phantom functions and auxiliary power, which the function does not have.
    properties: dict[str, dict[str, Any]] = {
        "correctable_error_enable": {"access": Access.RW},
        "non_fatal_error_enable": {"access": Access.RW},
        "fatal_error_enable": {"access": Access.RW},
        "unsupported_request_enable": {"access": Access.RW},
        "relaxed_ordering": {"access": Access.RW, "init": 1},
        "max_payload": {"access": Access.RW, "output": "max_payload", "kept": True},
        "extended_tag": {"access": Access.RW, "output": "extended_tag"},
        "no_snoop": {"access": Access.RW, "init": 1},
        "max_read_request": {"access": Access.RW, "init": 2, "output": "max_read_request"},
        "initiate_flr": {"access": Access.STROBE, "output": "initiate_flr"},
    }
    layout = DeviceControl.as_shape()
    return tuple(
        Field(offset=_DEVICE_CONTROL, bit=layout[name].offset, width=layout[name].width, **rest)
        for name, rest in properties.items()
    )


def _device_status() -> tuple[Field, ...]:
    def bit(mask: DeviceStatus, access: Access, live: str) -> Field:
        return Field(offset=_DEVICE_STATUS, bit=mask.bit_length() - 1, width=1, access=access, live=live)

    return (
        bit(DeviceStatus.CORRECTABLE_ERROR, Access.RW1C, "correctable_error"),
        bit(DeviceStatus.NON_FATAL_ERROR, Access.RW1C, "non_fatal_error"),
        bit(DeviceStatus.FATAL_ERROR, Access.RW1C, "fatal_error"),
        bit(DeviceStatus.UNSUPPORTED_REQUEST, Access.RW1C, "unsupported_request_detected"),
        bit(DeviceStatus.TRANSACTIONS_PENDING, Access.RO, "transactions_pending"),
    )


def _link(speed: int, width: int) -> tuple[Field, ...]:
    fields = [
        # Link Capabilities: no ASPM, which the optionality bit permits.
        Field(offset=0x0C, width=4, init=speed),
        Field(offset=0x0C, bit=4, width=6, init=width),
        Field(offset=0x0C, bit=22, width=1, init=1),
        # Link Control: what a function level reset keeps.
        Field(offset=0x10, width=2, access=Access.RW, kept=True),  # ASPM Control
        Field(offset=0x10, bit=3, width=1, access=Access.RW, kept=True),  # Read Completion Boundary
        Field(offset=0x10, bit=6, width=1, access=Access.RW, kept=True),  # Common Clock Configuration
        Field(offset=0x10, bit=7, width=1, access=Access.RW, kept=True),  # Extended Synch
        # Link Status: as negotiated, on the slot's reference clock.
        Field(offset=0x12, width=4, init=speed),
        Field(offset=0x12, bit=4, width=6, init=width),
        Field(offset=0x12, bit=12, width=1, init=1),
        # Link Capabilities 2: Supported Link Speeds Vector.
        Field(offset=0x2C, bit=1, width=speed, init=(1 << speed) - 1),
    ]
    if speed > 1:
        # Link Control 2, hardwired to 0 at 2.5 GT/s only. Sticky; for the PHY's compliance modes.
        fields += [
            Field(offset=0x30, width=4, access=Access.RW, init=speed, kept=True),  # Target Link Speed
            Field(offset=0x30, bit=4, width=1, access=Access.RW, kept=True),  # Enter Compliance
            Field(offset=0x30, bit=7, width=3, access=Access.RW, kept=True),  # Transmit Margin
            Field(offset=0x30, bit=10, width=1, access=Access.RW, kept=True),  # Modified Compliance
            Field(offset=0x30, bit=11, width=1, access=Access.RW, kept=True),  # Compliance SOS
            Field(offset=0x30, bit=12, width=4, access=Access.RW, kept=True),  # Compliance Preset
        ]
    return tuple(fields)


def express(*, max_payload: int, link_speed: int, link_width: int, legacy: bool = False) -> Capability:
    """PCI Express capability version 2 of an endpoint that can do function level resets.

    ``legacy`` makes it a legacy endpoint, as one that does not work without its I/O BAR has to be
    [§1.3.2]; to software it is an endpoint like the other.
    ``max_payload`` is the encoding of the supported payload size (128 << n bytes), ``link_speed`` 1
    for 2.5 GT/s to 5 for 32 GT/s.

    Live ``correctable_error``, ``non_fatal_error``, ``fatal_error``, ``unsupported_request_detected``
    (strobes) and ``transactions_pending``; outputs ``max_payload``, ``max_read_request``,
    ``extended_tag``, ``initiate_flr`` (a strobe), ``completion_timeout_disable``.
    """
    return Capability(
        id=CapabilityId.PCI_EXPRESS,
        size=0x3C,
        fields=(
            Field(offset=0x02, width=4, init=2),  # Capability Version
            Field(offset=0x02, bit=4, width=4, init=int(legacy)),  # Device/Port Type
            Field(offset=0x04, width=3, init=max_payload),  # Max_Payload_Size Supported
            Field(offset=0x04, bit=5, width=1, init=1),  # Extended Tag Field Supported
            Field(offset=0x04, bit=15, width=1, init=1),  # Role-Based Error Reporting
            Field(offset=0x04, bit=28, width=1, init=1),  # Function Level Reset Capability
            *_device_control(),
            *_device_status(),
            *_link(link_speed, link_width),
            Field(offset=0x24, bit=4, width=1, init=1),  # Completion Timeout Disable Supported
            Field(offset=0x28, bit=4, width=1, access=Access.RW, output="completion_timeout_disable"),
        ),
    )
