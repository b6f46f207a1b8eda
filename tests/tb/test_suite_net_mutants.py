"""The test list finds network devices with one mistake each."""

import pytest
from helpers.mutants import is_found
from virtio_models import net
from virtio_models.device import ReferenceDevice
from virtio_models.net import Net
from virtio_spec.net import CtrlClass, CtrlMac, NetFeature

HEADER = 12


def with_header(data: list[tuple[int, bytes]], at: int, value: bytes) -> list[tuple[int, bytes]]:
    """A frame on its way into buffers, with octets of its header replaced."""
    (position, first), *rest = data
    return [(position, first[:at] + value + first[at + len(value) :]), *rest]


class AlwaysSaysOneBuffer(Net):
    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 10, b"\1\0") if found else found


class CountsABufferTooMany(Net):
    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 10, (len(found) + 1).to_bytes(2, "little")) if found else found


class MergesAlways(Net):
    def _deliver(self, backlog, rooms):
        accepted, self.accepted = self.accepted, self.accepted | 1 << NetFeature.MRG_RXBUF
        found = super()._deliver(backlog, [min(room, 128) for room in rooms])
        self.accepted = accepted
        return found


class LeavesAnOctetFree(Net):
    def _deliver(self, backlog, rooms):
        return super()._deliver(backlog, [max(room - 1, HEADER) for room in rooms])


class TellsOfOneBufferAfterTheOther(ReferenceDevice):
    def complete(self, queue, done):
        for chain, data in done:
            yield from super().complete(queue, [(chain, data)])


class FlagsWithoutBeingAsked(Net):
    def _deliver(self, backlog, rooms):
        accepted, self.accepted = self.accepted, self.accepted | 1 << NetFeature.GUEST_CSUM
        found = super()._deliver(backlog, rooms)
        self.accepted = accepted
        return found


class SaysThatItIsATunnel(Net):
    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 1, b"\x21") if found else found


class SaysThatATunnelIsChecked(Net):
    def _deliver(self, backlog, rooms):
        found = super()._deliver(backlog, rooms)
        return with_header(found, 0, b"\x08") if found else found


class SendsWhatHasTwoTunnels(Net):
    def _transmit(self, data, pair):
        super()._transmit(data[:1] + bytes(1) + data[2:], pair)


class ForgetsThatAQueueIsReset(Net):
    def receive(self, frame, *, checked=False):
        before, self.in_use = self.in_use, lambda queue: True
        super().receive(frame, checked=checked)
        self.in_use = before


class CallsEverythingValid(Net):
    def receive(self, frame, *, checked=False):
        super().receive(frame, checked=True)


class TakesWhatIsDamaged(Net):
    def _look(self):
        while (incoming := self.network.take()) is not None:
            self.receive(incoming.data, checked=incoming.checked)


class TakesFramesOfAnyLength(Net):
    def _wanted(self, frame):
        return super()._wanted(frame[:60])


class StripsTags(Net):
    def receive(self, frame, *, checked=False):
        super().receive(frame[:12] + frame[16:] if frame[12:14] == b"\x81\0" else frame, checked=checked)


class HasNoFilter(Net):
    def _wanted(self, frame):
        return True


class IsDeafToAll(Net):
    def _wanted(self, frame):
        return frame[:6] != net.BROADCAST and super()._wanted(frame)


class PromiscuousForStationsOnly(Net):
    def _wanted(self, frame):
        kept, self.promiscuous = self.promiscuous, self.promiscuous and not frame[0] & 1
        found = super()._wanted(frame)
        self.promiscuous = kept
        return found


class AddsToItsTables(Net):
    def _mac(self, command, data):
        before = self.unicast, self.multicast
        found = super()._mac(command, data)
        self.unicast, self.multicast = self.unicast | before[0], self.multicast | before[1]
        return found


class ForgetsWhatDoesNotFit(Net):
    def _mac(self, command, data):
        found = super()._mac(command, data)
        self.all_unicast_wanted = self.all_multicast_wanted = False
        return found


class ReadsOneTable(Net):
    def _mac(self, command, data):
        found = super()._mac(command, data)
        if command == CtrlMac.TABLE_SET:
            self.multicast = set()
        return found


class FiltersByItsFirstAddress(Net):
    def _wanted(self, frame):
        kept, self.mac = self.mac, self.permanent
        found = super()._wanted(frame)
        self.mac = kept
        return found


class ShowsItsFirstAddress(Net):
    def config(self):
        return self.permanent + super().config()[6:]


class KeepsItsAddress(Net):
    def _forget(self):
        kept = getattr(self, "mac", self.permanent)
        super()._forget()
        self.mac = kept


class KeepsItsModes(Net):
    def _forget(self):
        kept = getattr(self, "promiscuous", False)
        super()._forget()
        self.promiscuous = kept


class KeepsFramesOverAReset(Net):
    def _forget(self):
        kept = getattr(self, "_backlog", None)
        super()._forget()
        self._backlog = kept or self._backlog


class IsLateWithChecksums(Net):
    """It does not add the carry of the last sum."""

    def _transmit(self, data, pair):
        super()._transmit(data, pair)
        if data[0] & 1:
            at = int.from_bytes(data[6:8], "little") + int.from_bytes(data[8:10], "little")
            frame = bytearray(self.network.sent[-1])
            frame[at + 1] = (frame[at + 1] + 1) % 256
            self.network.sent[-1] = bytes(frame)


class ChecksumsEvenOctetsOnly(Net):
    def _transmit(self, data, pair):
        odd = (len(data) - HEADER - int.from_bytes(data[6:8], "little")) % 2
        super()._transmit(data[:-1] + b"\0" if odd and data[0] & 1 else data, pair)


class ChecksumsUnasked(Net):
    def _transmit(self, data, pair):
        super()._transmit(bytes([data[0] | 1]) + data[1:] if any(data[6:10]) else data, pair)


class RefusesUnknownFlags(Net):
    def _transmit(self, data, pair):
        if not data[0] & ~1:
            super()._transmit(data, pair)


class BelievesHeaderLengths(Net):
    def _transmit(self, data, pair):
        length = int.from_bytes(data[2:4], "little")
        if length <= len(data):
            super()._transmit(data, pair)


class CutsLongFrames(Net):
    def _transmit(self, data, pair):
        super()._transmit(data[: HEADER + 1500], pair)


class SendsTheNewestFirst(Net):
    def serve(self, queue, waiting, rng):
        if queue == 1:
            self._transmit(waiting[-1].readable, 0)
            return [(len(waiting) - 1, b"")]
        return super().serve(queue, waiting, rng)


class DoesNotAnswer(Net):
    def _control(self, command):
        super()._control(command)
        return b""


class SaysOkToAll(Net):
    def _control(self, command):
        super()._control(command)
        return b"\0"


class SaysErrorToAll(Net):
    def _control(self, command):
        super()._control(command)
        return b"\1"


class HasNoAddressCommand(Net):
    def _control(self, command):
        return b"\1" if command[:2] == bytes([CtrlClass.MAC, CtrlMac.ADDR_SET]) else super()._control(command)


class HasItsControlQueueAtTheEnd(Net):
    @property
    def control_queue(self):
        return 2 * self.pairs


class ReceivesOnTheFirstPair(Net):
    def _multiqueue(self, command, data):
        super()._multiqueue(command, data)
        self.active = 1
        return True


class KeepsFlowsWhereTheyBegan(Net):
    def _transmit(self, data, pair):
        known = dict(self._pair_of)
        super()._transmit(data, pair)
        self._pair_of.update(known)


class ReceivesOnAllPairs(Net):
    @property
    def active(self):
        return self.pairs

    @active.setter
    def active(self, value):
        pass


class NeverUsesFewerPairs(Net):
    def _multiqueue(self, command, data):
        before = self.active
        found = super()._multiqueue(command, data)
        self.active = max(self.active, before)
        return found


class SilentLink(Net):
    def _look(self):
        kept, self.changed = self.changed, lambda: None
        super()._look()
        self.changed = kept


class FollowsTheSpeed(Net):
    def config(self):
        self.speed = self.network.speed
        return super().config()


class SmallMtu(Net):
    def __init__(self, network, **options):
        super().__init__(network, **options, mtu=1279)


MUTANTS = [
    ({"net": AlwaysSaysOneBuffer}, "merged_buffers_come_together_and_full"),
    ({"net": CountsABufferTooMany}, "a_frame_comes_whole_behind_its_header"),
    ({"net": MergesAlways}, "without_merged_buffers_each_frame_has_one"),
    ({"net": LeavesAnOctetFree}, "merged_buffers_come_together_and_full"),
    ({"device": TellsOfOneBufferAfterTheOther}, "merged_buffers_come_together_and_full"),
    ({"device": TellsOfOneBufferAfterTheOther}, "frames_in_buffers_of_any_size_come_in_order"),
    ({"net": FlagsWithoutBeingAsked}, "without_guest_csum_flags_are_zero"),
    ({"net": SaysThatItIsATunnel}, "a_frame_comes_whole_behind_its_header"),
    ({"net": SaysThatATunnelIsChecked}, "a_frame_comes_whole_behind_its_header"),
    ({"net": SendsWhatHasTwoTunnels}, "a_frame_with_both_tunnel_bits_does_not_leave"),
    (
        {"net": ForgetsThatAQueueIsReset, "queues": 5},
        "frames_for_a_queue_that_is_being_reset_go_elsewhere",
    ),
    ({"net": CallsEverythingValid}, "only_what_was_checked_is_called_valid"),
    ({"net": TakesWhatIsDamaged}, "only_what_was_checked_is_called_valid"),
    ({"net": TakesFramesOfAnyLength}, "a_frame_of_the_mtu_comes_and_a_longer_one_does_not"),
    ({"net": StripsTags}, "frames_with_any_tag_come_and_leave"),
    ({"net": HasNoFilter}, "at_first_only_frames_for_this_station_and_for_all_come"),
    ({"net": IsDeafToAll}, "at_first_only_frames_for_this_station_and_for_all_come"),
    ({"net": PromiscuousForStationsOnly}, "receive_modes_open_the_filter"),
    ({"net": AddsToItsTables}, "the_tables_are_in_force_when_their_command_has_ended"),
    ({"net": ReadsOneTable}, "the_tables_are_in_force_when_their_command_has_ended"),
    ({"net": ForgetsWhatDoesNotFit}, "no_address_is_lost_for_want_of_room"),
    ({"net": FiltersByItsFirstAddress}, "a_new_address_is_in_force_when_its_command_has_ended"),
    ({"net": ShowsItsFirstAddress}, "a_new_address_is_in_force_when_its_command_has_ended"),
    ({"net": KeepsItsAddress}, "a_reset_forgets_all_that_was_set"),
    ({"net": KeepsItsModes}, "a_reset_forgets_all_that_was_set"),
    ({"net": KeepsFramesOverAReset}, "nothing_is_received_after_a_reset"),
    ({"net": IsLateWithChecksums}, "a_checksum_left_to_the_device_is_completed"),
    ({"net": ChecksumsEvenOctetsOnly}, "a_checksum_left_to_the_device_is_completed"),
    ({"net": ChecksumsUnasked}, "a_frame_leaves_as_it_is_however_it_is_cut"),
    ({"net": RefusesUnknownFlags}, "a_flag_without_a_meaning_changes_nothing"),
    ({"net": BelievesHeaderLengths}, "a_frame_leaves_as_it_is_however_it_is_cut"),
    ({"net": CutsLongFrames}, "a_frame_as_long_as_the_mtu_leaves_whole"),
    ({"net": SendsTheNewestFirst}, "frames_leave_in_the_order_of_their_queue"),
    ({"net": DoesNotAnswer}, "a_command_is_understood_however_it_is_cut"),
    ({"net": SaysOkToAll}, "a_command_that_is_not_known_is_an_error"),
    ({"net": SaysErrorToAll}, "a_command_is_understood_however_it_is_cut"),
    ({"net": HasNoAddressCommand}, "a_command_is_understood_however_it_is_cut"),
    ({"net": SilentLink}, "a_change_of_the_link_is_told"),
    ({"net": FollowsTheSpeed}, "a_change_of_the_link_is_told"),
    ({"net": SmallMtu}, "the_configuration_is_sensible"),
    (
        {"net": HasItsControlQueueAtTheEnd, "queues": 5},
        "without_mq_the_control_queue_comes_behind_the_first_pair",
    ),
    ({"net": ReceivesOnTheFirstPair, "queues": 5}, "answers_come_on_the_pair_on_which_was_sent"),
    ({"net": KeepsFlowsWhereTheyBegan, "queues": 7}, "answers_come_on_the_pair_on_which_was_sent"),
    ({"net": ReceivesOnAllPairs, "queues": 5}, "after_a_reset_the_first_pair_receives"),
    ({"net": NeverUsesFewerPairs, "queues": 7}, "pairs_that_are_not_in_use_receive_nothing"),
]


@pytest.mark.parametrize(
    ("broken", "name"), MUTANTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_broken_network_device_is_found(broken, name):
    assert is_found("net", f"net.{name}", broken), f"{name} passes"
