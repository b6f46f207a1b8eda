"""Bugs of devices that do not survive a driver, or a host, that does wrong."""

from virtio_models.device import ReferenceDevice
from virtio_models.net import Net
from virtio_models.pci import PciFunction
from virtio_spec.virtio import NO_VECTOR, DeviceStatus

from .bug import bug, seen


class Mortal(ReferenceDevice):
    """Once ``dead``, it does no work any more, whatever comes."""

    dead = False

    @property
    def running(self):
        return super().running and not self.dead


@bug(seen("rng", "hostile_setup.kicks_say_something_wrong"))
class DiesOfAStrangeKick(Mortal):
    """A kick for a queue that does not exist ends all work, over every reset."""

    def _notified(self, queue, enable, value):
        self.dead = self.dead or value & 0xFFFF >= len(self.queues)
        super()._notified(queue, enable, value)


@bug(seen("rng", "hostile_setup.all_of_the_status_is_written_at_once"))
class DiesOfAStatusInOneStep(Mortal):
    """A status that comes in one step ends all work, over every reset."""

    def _set_status(self, value):
        self.dead = self.dead or (not self.status and bool(value & DeviceStatus.DRIVER_OK))
        super()._set_status(value)


@bug(seen("blk", "hostile_setup.a_driver_does_not_look_whether_its_vector_was_taken"))
class SilentAfterAVectorThatIsNone(ReferenceDevice):
    """A vector that does not exist takes all others away, over every reset."""

    silent = False

    def _valid_vector(self, value):
        self.silent = self.silent or self.pci.vectors <= value != NO_VECTOR
        return NO_VECTOR if self.silent else super()._valid_vector(value)


@bug(
    seen("blk", "outages.asleep_in_the_middle_of_work_it_leaves_memory_alone"),
    seen("rng", "outages.without_the_bus_in_the_middle_of_work_it_leaves_memory_alone"),
)
class NeverStops(PciFunction):
    """Requests are sent asleep, and without bus mastering."""

    @property
    def bus_master(self):
        return True


@bug(seen("net", "hostile_requests.headers_ask_for_what_was_not_negotiated"))
class IsBlockedByASegment(Net):
    """A frame with a gso_type stops all that come behind it."""

    blocked = False

    def _transmit(self, data, pair):
        self.blocked = self.blocked or data[1:2] > b"\0"
        if not self.blocked:
            super()._transmit(data, pair)


@bug(seen("net", "hostile_requests.frames_are_too_long_and_headers_too_short"))
class IsBlockedByALongFrame(Net):
    """A frame that is longer than the MTU allows stops all that come behind it."""

    blocked = False

    def _transmit(self, data, pair):
        self.blocked = self.blocked or len(data) > self.mtu + 100
        if not self.blocked:
            super()._transmit(data, pair)


@bug(seen("net", "hostile_requests.filters_are_set_without_their_feature"))
class TakesFiltersWithoutTheirFeature(Net):
    """Commands are carried out although their feature was not accepted."""

    def _has(self, feature):
        return True


@bug(seen("net", "hostile_requests.pairs_are_used_that_are_not_in_use", queues=5))
class TakesEveryNumberOfPairs(Net):
    """Any number of pairs is called right."""

    def _multiqueue(self, command, data):
        return True
