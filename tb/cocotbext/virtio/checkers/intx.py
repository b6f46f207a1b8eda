"""The virtual wires INTA to INTD of one function, followed from message to message.

[PCIe base 5.0 §2.2.8.1, §6.1.2]
"""

from collections.abc import Iterator

from virtio_spec.tlp import InterruptMessage

from .packet import Packet

__all__ = ["IntxWires", "is_intx"]

_WIRES = 4
_CODES = range(InterruptMessage.ASSERT_INTA, InterruptMessage.DEASSERT_INTA + _WIRES)


def is_intx(packet: Packet) -> bool:
    """Whether a message of any form has the code of an INTx message."""
    return packet.name in ("Msg", "MsgD") and packet.code in _CODES


class IntxWires:
    """What the function has said about its wires, and whether it may assert one.

    Attributes
    ----------
    asserted
        Wires that are, 0 to 3 for INTA to INTD.
    forbidden
        Whether the host has forbidden INTx, and has seen an answer to a read that it sent after that was
        in force: whatever the function said before has arrived by then.
    """

    def __init__(self) -> None:
        self.asserted: set[int] = set()
        self.forbidden = False

    def message(self, packet: Packet, pin: int | None) -> Iterator[str]:
        """Take an INTx message of a function with this Interrupt Pin; what is wrong with it."""
        wire = packet.code % _WIRES
        name = f"INT{'ABCD'[wire]}"
        if pin is not None and pin != wire + 1:
            yield f"{name} of a function whose Interrupt Pin is {pin}"
        if packet.code >= InterruptMessage.DEASSERT_INTA:
            if wire not in self.asserted:
                yield f"{name} is deasserted and was not asserted"
            self.asserted.discard(wire)
            return
        if wire in self.asserted:
            yield f"{name} is asserted a second time"
        if self.forbidden:
            yield f"{name} is asserted while MSI-X is on or INTx disabled"
        self.asserted.add(wire)
