"""What is on the other side of a network device's cable: frames both ways, a link, faults."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Incoming", "Network"]

#: How many frames on their way are remembered: far more than are ever between a cable and a driver.
REMEMBERED = 256


@dataclass(frozen=True)
class Incoming:
    """A frame on its way to the device.

    Attributes
    ----------
    data
        Destination address to the end of the data, without a frame check sequence.
    error
        It came damaged; the device drops it.
    checked
        The MAC has found the checksum of the TCP or UDP segment inside right.
    """

    data: bytes
    error: bool = False
    checked: bool = False


class Network:
    """A cable with something at its end.

    Attributes
    ----------
    sent
        Frames that the driver sent, in the order in which they left the device.
    respond
        Called with each of them as well; frames that it returns come back to the device, in order. By
        default there is nobody to answer.
    listeners
        Called after a frame was added for the device, and after a change of the link.
    taken
        The last frames that somebody took for the device, which it may not have been ready for yet.
    link_up
        Whether there is a link.
    speed
        In Mbit/s.
    """

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.respond: Callable[[bytes], list[bytes]] = nobody
        self.listeners: list[Callable[[], None]] = []
        self.taken: deque[bytes] = deque(maxlen=REMEMBERED)
        self.link_up, self.speed = True, 10_000
        self._waiting: deque[Incoming] = deque()

    def send(self, frame: bytes, *, error: bool = False, checked: bool = False) -> None:
        """Put a frame on the cable towards the device."""
        if not frame:
            raise ValueError("a frame has at least one octet")
        self._waiting.append(Incoming(bytes(frame), error, checked))
        self._tell()

    def take(self) -> Incoming | None:
        """The next frame for the device, for whoever is between it and the cable."""
        if not self._waiting:
            return None
        found = self._waiting.popleft()
        self.taken.append(found.data)
        return found

    def put(self, frame: bytes) -> None:
        """A frame came out of the device."""
        self.sent.append(frame)
        for answer in self.respond(frame):
            self.send(answer)

    def set_link(self, up: bool, speed: int = 10_000) -> None:
        """The link goes up or down."""
        self.link_up, self.speed = up, speed
        self._tell()

    def heal(self) -> None:
        """As at the beginning: the link is up, nothing is on the cable, nobody answers."""
        self.sent.clear()
        self._waiting.clear()
        self.respond = nobody
        if not self.link_up or self.speed != 10_000:
            self.set_link(True)

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def nobody(frame: bytes) -> list[bytes]:
    """Answers nothing."""
    return []
