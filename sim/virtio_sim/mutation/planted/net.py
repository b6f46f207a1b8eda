"""Bugs of the network device."""

from virtio_models import net
from virtio_models.device import ReferenceDevice
from virtio_models.net import Net
from virtio_spec.net import CtrlClass, CtrlMac, NetFeature

from .bug import bug, seen

HEADER = 12


def with_header(data: list[tuple[int, bytes]], at: int, value: bytes) -> list[tuple[int, bytes]]:
    """A frame on its way into buffers, with octets of its header replaced."""
    (position, first), *rest = data
    return [(position, first[:at] + value + first[at + len(value) :]), *rest]


@bug(seen("net", "net.merged_buffers_come_together_and_full"), traps=(29,))
class AlwaysSaysOneBuffer(Net):
    """num_buffers is always 1."""

    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 10, b"\1\0") if found else found


@bug(seen("net", "net.a_frame_comes_whole_behind_its_header"), traps=(29,))
class CountsABufferTooMany(Net):
    """num_buffers is one too many."""

    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 10, (len(found) + 1).to_bytes(2, "little")) if found else found


@bug(seen("net", "net.without_merged_buffers_each_frame_has_one"))
class MergesAlways(Net):
    """A frame is spread over several buffers although that was not negotiated."""

    def _deliver(self, backlog, rooms):
        accepted, self.accepted = self.accepted, self.accepted | 1 << NetFeature.MRG_RXBUF
        found = super()._deliver(backlog, [min(room, 128) for room in rooms])
        self.accepted = accepted
        return found


@bug(seen("net", "net.merged_buffers_come_together_and_full"))
class LeavesAnOctetFree(Net):
    """The last octet of a merged buffer stays free."""

    def _deliver(self, backlog, rooms):
        return super()._deliver(backlog, [max(room - 1, HEADER) for room in rooms])


@bug(
    seen("net", "net.merged_buffers_come_together_and_full"),
    seen("net", "net.frames_in_buffers_of_any_size_come_in_order"),
    traps=(29,),
)
class TellsOfOneBufferAfterTheOther(ReferenceDevice):
    """Buffers of one frame become visible one after the other."""

    def complete(self, queue, done):
        for chain, data in done:
            yield from super().complete(queue, [(chain, data)])


@bug(seen("net", "net.without_guest_csum_flags_are_zero"))
class FlagsWithoutBeingAsked(Net):
    """Checksum flags are set without VIRTIO_NET_F_GUEST_CSUM."""

    def _deliver(self, backlog, rooms):
        accepted, self.accepted = self.accepted, self.accepted | 1 << NetFeature.GUEST_CSUM
        found = super()._deliver(backlog, rooms)
        self.accepted = accepted
        return found


@bug(seen("net", "net.a_frame_comes_whole_behind_its_header"))
class SaysThatItIsATunnel(Net):
    """gso_type says that a frame is a tunnel."""

    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 1, b"\x21") if found else found


@bug(seen("net", "net.a_frame_comes_whole_behind_its_header"))
class SaysThatATunnelIsChecked(Net):
    """The flags say that a tunnel's checksum is right."""

    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 0, b"\x08") if found else found


@bug(seen("net", "net.a_frame_with_both_tunnel_bits_does_not_leave"))
class SendsWhatHasTwoTunnels(Net):
    """A frame whose gso_type has both tunnel bits is sent."""

    def _transmit(self, data, pair):
        super()._transmit(data[:1] + bytes(1) + data[2:], pair)


@bug(seen("net", "net.frames_for_a_queue_that_is_being_reset_go_elsewhere", queues=5))
class ForgetsThatAQueueIsReset(Net):
    """Frames go into a queue that is being reset."""

    def receive(self, frame, *, checked=False):
        before, self.in_use = self.in_use, lambda queue: True
        super().receive(frame, checked=checked)
        self.in_use = before


@bug(seen("net", "net.only_what_was_checked_is_called_valid"))
class CallsEverythingValid(Net):
    """Frames that nobody checked are called valid."""

    def receive(self, frame, *, checked=False):
        super().receive(frame, checked=True)


@bug(seen("net", "net.only_what_was_checked_is_called_valid"))
class TakesWhatIsDamaged(Net):
    """Damaged frames are received."""

    def _look(self):
        while (incoming := self.network.take()) is not None:
            self.receive(incoming.data, checked=incoming.checked)


@bug(seen("net", "net.a_frame_of_the_mtu_comes_and_a_longer_one_does_not"))
class TakesFramesOfAnyLength(Net):
    """Frames longer than the MTU are received."""

    def _wanted(self, frame):
        return super()._wanted(frame[:60])


@bug(seen("net", "net.frames_with_any_tag_come_and_leave"))
class StripsTags(Net):
    """VLAN tags are taken off."""

    def receive(self, frame, *, checked=False):
        super().receive(frame[:12] + frame[16:] if frame[12:14] == b"\x81\0" else frame, checked=checked)


@bug(seen("net", "net.at_first_only_frames_for_this_station_and_for_all_come"))
class HasNoFilter(Net):
    """Frames for other stations are received."""

    def _wanted(self, frame):
        return True


@bug(seen("net", "net.at_first_only_frames_for_this_station_and_for_all_come"))
class IsDeafToAll(Net):
    """Broadcasts are not received."""

    def _wanted(self, frame):
        return frame[:6] != net.BROADCAST and super()._wanted(frame)


@bug(seen("net", "net.receive_modes_open_the_filter"))
class PromiscuousForStationsOnly(Net):
    """The promiscuous mode leaves multicasts out."""

    def _wanted(self, frame):
        kept, self.promiscuous = self.promiscuous, self.promiscuous and not frame[0] & 1
        found = super()._wanted(frame)
        self.promiscuous = kept
        return found


@bug(seen("net", "net.the_tables_are_in_force_when_their_command_has_ended"))
class AddsToItsTables(Net):
    """A new table of addresses is added to the old one."""

    def _mac(self, command, data):
        before = self.unicast, self.multicast
        found = super()._mac(command, data)
        self.unicast, self.multicast = self.unicast | before[0], self.multicast | before[1]
        return found


@bug(seen("net", "net.no_address_is_lost_for_want_of_room"))
class ForgetsWhatDoesNotFit(Net):
    """Addresses beyond the table's room are forgotten."""

    def _mac(self, command, data):
        found = super()._mac(command, data)
        self.all_unicast_wanted = self.all_multicast_wanted = False
        return found


@bug(seen("net", "net.the_tables_are_in_force_when_their_command_has_ended"))
class ReadsOneTable(Net):
    """The second table of a command is not read."""

    def _mac(self, command, data):
        found = super()._mac(command, data)
        if command == CtrlMac.TABLE_SET:
            self.multicast = set()
        return found


@bug(seen("net", "net.a_new_address_is_in_force_when_its_command_has_ended"))
class FiltersByItsFirstAddress(Net):
    """The filter keeps the permanent address after another was set."""

    def _wanted(self, frame):
        kept, self.mac = self.mac, self.permanent
        found = super()._wanted(frame)
        self.mac = kept
        return found


@bug(seen("net", "net.a_new_address_is_in_force_when_its_command_has_ended"))
class ShowsItsFirstAddress(Net):
    """The configuration keeps the permanent address after another was set."""

    def config(self):
        return self.permanent + super().config()[6:]


@bug(seen("net", "net.a_reset_forgets_all_that_was_set"))
class KeepsItsAddress(Net):
    """The address outlives a reset."""

    def _forget(self):
        kept = getattr(self, "mac", self.permanent)
        super()._forget()
        self.mac = kept


@bug(seen("net", "net.a_reset_forgets_all_that_was_set"))
class KeepsItsModes(Net):
    """The receive modes outlive a reset."""

    def _forget(self):
        kept = getattr(self, "promiscuous", False)
        super()._forget()
        self.promiscuous = kept


@bug(seen("net", "net.nothing_is_received_after_a_reset"), traps=(6,))
class KeepsFramesOverAReset(Net):
    """Frames that waited are received after a reset."""

    def _forget(self):
        kept = getattr(self, "_backlog", None)
        super()._forget()
        self._backlog = kept or self._backlog


@bug(seen("net", "net.a_checksum_left_to_the_device_is_completed"))
class IsLateWithChecksums(Net):
    """The carry of a checksum's last sum is not added."""

    def _transmit(self, data, pair):
        super()._transmit(data, pair)
        if data[0] & 1:
            at = int.from_bytes(data[6:8], "little") + int.from_bytes(data[8:10], "little")
            frame = bytearray(self.network.sent[-1])
            frame[at + 1] = (frame[at + 1] + 1) % 256
            self.network.sent[-1] = bytes(frame)


@bug(seen("net", "net.a_checksum_left_to_the_device_is_completed"))
class ChecksumsEvenOctetsOnly(Net):
    """The last octet of an odd number is left out of the checksum."""

    def _transmit(self, data, pair):
        odd = (len(data) - HEADER - int.from_bytes(data[6:8], "little")) % 2
        super()._transmit(data[:-1] + b"\0" if odd and data[0] & 1 else data, pair)


@bug(seen("net", "net.a_frame_leaves_as_it_is_however_it_is_cut"))
class ChecksumsUnasked(Net):
    """A checksum is filled in although the flag does not ask for it."""

    def _transmit(self, data, pair):
        super()._transmit(bytes([data[0] | 1]) + data[1:] if any(data[6:10]) else data, pair)


@bug(seen("net", "net.a_flag_without_a_meaning_changes_nothing"))
class RefusesUnknownFlags(Net):
    """A frame with an unknown flag is dropped."""

    def _transmit(self, data, pair):
        if not data[0] & ~1:
            super()._transmit(data, pair)


@bug(seen("net", "net.a_frame_leaves_as_it_is_however_it_is_cut"))
class BelievesHeaderLengths(Net):
    """hdr_len is believed, and a frame shorter than it dropped."""

    def _transmit(self, data, pair):
        length = int.from_bytes(data[2:4], "little")
        if length <= len(data):
            super()._transmit(data, pair)


@bug(seen("net", "net.a_frame_as_long_as_the_mtu_leaves_whole"))
class CutsLongFrames(Net):
    """Frames are cut at 1500 octets, header of the link included."""

    def _transmit(self, data, pair):
        super()._transmit(data[: HEADER + 1500], pair)


@bug(seen("net", "net.frames_leave_in_the_order_of_their_queue"))
class SendsTheNewestFirst(Net):
    """Frames leave in the opposite order."""

    def serve(self, queue, waiting, rng):
        if queue == 1:
            self._transmit(waiting[-1].readable, 0)
            return [(len(waiting) - 1, b"")]
        return super().serve(queue, waiting, rng)


@bug(seen("net", "net.a_command_is_understood_however_it_is_cut"))
class DoesNotAnswer(Net):
    """A command gets no acknowledgement."""

    def _control(self, command):
        super()._control(command)
        return b""


@bug(seen("net", "net.a_command_that_is_not_known_is_an_error"))
class SaysOkToAll(Net):
    """Unknown commands are acknowledged with OK."""

    def _control(self, command):
        super()._control(command)
        return b"\0"


@bug(seen("net", "net.a_command_is_understood_however_it_is_cut"))
class SaysErrorToAll(Net):
    """All commands are acknowledged with ERR."""

    def _control(self, command):
        super()._control(command)
        return b"\1"


@bug(seen("net", "net.a_command_is_understood_however_it_is_cut"))
class HasNoAddressCommand(Net):
    """VIRTIO_NET_CTRL_MAC_ADDR_SET is refused."""

    def _control(self, command):
        return b"\1" if command[:2] == bytes([CtrlClass.MAC, CtrlMac.ADDR_SET]) else super()._control(command)


@bug(seen("net", "net.without_mq_the_control_queue_comes_behind_the_first_pair", queues=5))
class HasItsControlQueueAtTheEnd(Net):
    """The control queue is behind all pairs although VIRTIO_NET_F_MQ was not negotiated."""

    @property
    def control_queue(self):
        return 2 * self.pairs


@bug(seen("net", "net.answers_come_on_the_pair_on_which_was_sent", queues=5))
class ReceivesOnTheFirstPair(Net):
    """Answers come on the first pair, wherever was sent."""

    def _multiqueue(self, command, data):
        super()._multiqueue(command, data)
        self.active = 1
        return True


@bug(seen("net", "net.answers_come_on_the_pair_on_which_was_sent", queues=7))
class KeepsFlowsWhereTheyBegan(Net):
    """A flow that moves to another pair is still received on the old one."""

    def _transmit(self, data, pair):
        known = dict(self._pair_of)
        super()._transmit(data, pair)
        self._pair_of.update(known)


@bug(seen("net", "net.after_a_reset_the_first_pair_receives", queues=5))
class ReceivesOnAllPairs(Net):
    """After a reset all pairs receive."""

    @property
    def active(self):
        return self.pairs

    @active.setter
    def active(self, value):
        pass


@bug(seen("net", "net.pairs_that_are_not_in_use_receive_nothing", queues=7))
class NeverUsesFewerPairs(Net):
    """The number of pairs in use only grows."""

    def _multiqueue(self, command, data):
        before = self.active
        found = super()._multiqueue(command, data)
        self.active = max(self.active, before)
        return found


@bug(seen("net", "net.a_change_of_the_link_is_told"))
class SilentLink(Net):
    """A change of the link is not told."""

    def _look(self):
        kept, self.changed = self.changed, lambda: None
        super()._look()
        self.changed = kept


@bug(seen("net", "net.a_change_of_the_link_is_told"))
class FollowsTheSpeed(Net):
    """The speed changes while the driver looks, without a word."""

    def config(self):
        self.speed = self.network.speed
        return super().config()


@bug(seen("net", "net.the_configuration_is_sensible"))
class SmallMtu(Net):
    """The MTU is below what the standard wants."""

    def __init__(self, network, **options):
        super().__init__(network, **options, mtu=1279)
