"""Every rule of the TLP checker fires on a packet that breaks it, and on none that keeps it."""

from collections.abc import Sequence

import pytest
from cocotbext.virtio.checkers.tlp import TlpChecker
from cocotbext.virtio.memory import Arena, HostMemory
from helpers.tlp import atomic, completion, config, io, memory_read, memory_write, message

HOST, DEVICE = 0x0000, 0x0100
LOW, HIGH = 0x10_0000, 0x12_0000_0000
MESSAGE, MESSAGE_DATA = 0xFEE0_1000, 0x4501
BAR = 0xC000_0000
EXPRESS, MSIX = 0x40, 0x80
MPS_128_MRRS_512 = 0x2810
BUS_MASTER = 0x0006


class Scene:
    """A checker whose host has enumerated a device with the usual capabilities."""

    def __init__(self, *, device_control: int | None = MPS_128_MRRS_512) -> None:
        self.memory = HostMemory([Arena(LOW, bytearray(0x4000)), Arena(HIGH, bytearray(0x4000))])
        self.memory.grant(LOW, 0x3000, readable=True, writable=True)
        self.memory.grant(HIGH, 0x3000, readable=True, writable=True)
        message_bytes = MESSAGE_DATA.to_bytes(4, "little")
        self.checker = TlpChecker(self.memory, lambda a, d: (a, d) == (MESSAGE, message_bytes), lambda: 42)
        self.config_write(0x3C, 0)  # the device learns its number
        self.config_read(0x34, EXPRESS)
        self.config_read(0x3C, 0x0000_0100)
        self.config_read(EXPRESS, 0x0002_8010)
        self.config_read(MSIX, 0x0000_0011)
        if device_control is not None:
            self.config_write(EXPRESS + 8, device_control)
        self.config_write(0x04, BUS_MASTER)
        self.config_write(MSIX, 0x8000_0000, first_be=0xC)
        assert self.findings() == []

    def config_read(self, offset: int, value: int, tag: int = 1) -> None:
        self.host(config(offset // 4, tag=tag, requester=HOST, target=DEVICE))
        self.device(completion([value], completer=DEVICE, requester=HOST, tag=tag))

    def config_write(self, offset: int, value: int, *, first_be: int = 0xF, answered: bool = True) -> None:
        self.host(config(offset // 4, value, first_be=first_be, tag=2, requester=HOST, target=DEVICE))
        if answered:
            self.device(completion(completer=DEVICE, requester=HOST, tag=2))

    def host(self, packet: Sequence[int]) -> None:
        self.checker.from_host(packet)

    def device(self, packet: Sequence[int]) -> None:
        self.checker.from_device(packet)

    def findings(self) -> list[str]:
        found, self.checker.findings[:] = list(self.checker.findings), []
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def flip(packet: Sequence[int], dword: int, bits: int) -> list[int]:
    """The packet with bits inverted."""
    return [value ^ (bits if number == dword else 0) for number, value in enumerate(packet)]


def read(address: int = LOW, length: int = 1, tag: int = 7, **fields: int) -> list[int]:
    return memory_read(address, length, tag=tag, requester=DEVICE, **fields)


def write(address: int = LOW, payload: Sequence[int] = (0x11223344,), **fields: int) -> list[int]:
    return memory_write(address, payload, requester=DEVICE, **fields)


GOOD_REQUESTS = {
    "32-bit read": read(),
    "64-bit read": read(HIGH, 32),
    "write of one byte": write(first_be=0b0100),
    "write with a hole in one dword": write(first_be=0b1001),
    "write with holes in an aligned quadword": write(LOW + 8, [1, 2], first_be=0b0101, last_be=0b1010),
    "write of unaligned bytes": write(LOW, [1, 2, 3], first_be=0b1000, last_be=0b0001),
    "write of Max_Payload_Size": write(HIGH, range(32)),
    "read of Max_Read_Request_Size": read(LOW, 128),
    "read up to a 4 KiB boundary": read(LOW + 0x1000 - 64, 16),
    "zero-length read outside of the grants": read(LOW + 0x3800, first_be=0),
    "interrupt message": write(MESSAGE, [MESSAGE_DATA]),
    "relaxed ordering, enabled": write(attr=2),
    "PME message": message(0x18, requester=DEVICE, routing=0),
    "Assert_INTA": message(0x20, requester=DEVICE),
}


@pytest.mark.parametrize("packet", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS.keys())
def test_a_correct_request_passes(scene, packet):
    scene.device(packet)
    assert scene.findings() == []


BAD_REQUESTS = {
    "payload shorter than the length": (write(payload=[1, 2])[:-1], "payload of 1 dwords"),
    "payload longer than the length": ([*write(), 5], "payload of 2 dwords"),
    "payload on a read": ([*read(), 5], "payload of 1 dwords"),
    "reserved bit": (flip(write(), 0, 1 << 17), "reserved bit 17"),
    "processing hints": (write(th=True), "processing hints"),
    "digest": (write(td=True), "digest"),
    "poison": (write(ep=True), "poisoned"),
    "address type": (read(at=1), "address type 1"),
    "10-bit tag": (read(tag=0x107), "10-bit tags"),
    "ID-based ordering": (write(attr=4), "ID-based ordering"),
    "traffic class": (write(tc=3), "traffic class 3"),
    "4-dword header for a low address": (read(wide=True), "below 4 GiB"),
    "address bits": (flip(read(), 2, 1), "address bits 1:0"),
    "read over a 4 KiB boundary": (read(LOW + 0xFFC, 2), "crosses a 4 KiB boundary"),
    "write over a 4 KiB boundary": (write(LOW + 0xFFC, [1, 2]), "crosses a 4 KiB boundary"),
    "last enables of one dword": (write(last_be=1), "last byte enables with a length of one"),
    "no first enables": (write(payload=[1, 2], first_be=0), "no first byte enables"),
    "no last enables": (write(payload=[1, 2], last_be=0), "no last byte enables"),
    "hole in the first enables": (write(payload=[1, 2, 3], first_be=0b1010), "byte enables have a hole"),
    "hole in the last enables": (write(payload=[1, 2, 3], last_be=0b1110), "byte enables have a hole"),
    "hole in an unaligned pair": (write(LOW + 4, [1, 2], first_be=0b0111), "byte enables have a hole"),
    "too long a write": (write(LOW, range(33)), "longer than Max_Payload_Size 128"),
    "too long a read": (read(LOW, 129), "longer than Max_Read_Request_Size 512"),
    "another requester": (memory_read(LOW, tag=1, requester=0x0108), "requester id"),
    "large tag": (read(tag=32), "extended tags are off"),
    "read outside of the grants": (read(LOW + 0x3000), "outside of what the driver exposed"),
    "write past the end of a grant": (write(LOW + 0x2FFC, [1, 2]), "outside of what the driver exposed"),
    "message with the wrong data": (write(MESSAGE, [MESSAGE_DATA + 1]), "outside of what the driver"),
    "interrupt with bytes missing": (write(MESSAGE, [MESSAGE_DATA], first_be=3), "byte enables missing"),
    "interrupt with relaxed ordering": (write(MESSAGE, [MESSAGE_DATA], attr=2), "may overtake its cause"),
    "I/O request": (io(0x80, requester=DEVICE), "an endpoint does not send this"),
    "configuration request": (config(0, requester=DEVICE), "an endpoint does not send this"),
    "atomic": (atomic(0b01100, LOW, [1], requester=DEVICE), "an endpoint does not send this"),
    "unknown type": (flip(read(), 0, 0x1F << 24), "an endpoint does not send this"),
    "length of a message": (flip(message(0x20, requester=DEVICE), 0, 1), "length of a message"),
    "message of another requester": (message(0x20, requester=0x0200), "requester id"),
    "interrupt message with data": (message(0x20, [1], requester=DEVICE), "does not send this"),
    "interrupt message to the root": (message(0x20, requester=DEVICE, routing=0), "with routing 0"),
    "interrupt message with attributes": (message(0x20, requester=DEVICE, attr=2), "attributes of an inter"),
    "interrupt message with dword 2": (flip(message(0x20, requester=DEVICE), 2, 1), "last two dwords"),
    "interrupt message with dword 3": (flip(message(0x20, requester=DEVICE), 3, 1 << 31), "last two dwords"),
    "interrupt message with a traffic class": (message(0x20, requester=DEVICE, tc=1), "traffic class 1"),
    "wire without a pin": (message(0x21, requester=DEVICE), "INTB of a function whose Interrupt Pin is 1"),
    "wire that was not asserted": (message(0x24, requester=DEVICE), "INTA is deasserted and was not"),
}


@pytest.mark.parametrize(("packet", "complaint"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_broken_request_is_found(scene, packet, complaint):
    scene.device(packet)
    assert any(complaint in finding for finding in scene.findings())


def test_a_finding_tells_time_and_packet(scene):
    scene.device(write(LOW + 0xFFC, [0xAABBCCDD, 2]))
    expected = "42 ns: crosses a 4 KiB boundary: MWr 01:00.0 tag 0 at 0x100ffc length 2 be f/f"
    assert scene.findings() == [f"{expected} data aabbccdd 00000002"]


def test_a_tag_is_in_use_until_the_last_completion(scene):
    scene.device(read(LOW, 32))
    scene.host(completion(range(16), byte_count=128, completer=HOST, requester=DEVICE, tag=7))
    scene.device(read(LOW, 1))
    assert "tag is in use" in scene.findings()[0]
    scene.host(completion([0], byte_count=4, completer=HOST, requester=DEVICE, tag=7))
    scene.device(read(LOW, 1))
    assert scene.findings() == []


@pytest.mark.parametrize("status", [1, 4])
def test_an_error_completion_frees_the_tag(scene, status):
    scene.device(read(LOW, 32))
    scene.host(completion(status=status, byte_count=128, completer=HOST, requester=DEVICE, tag=7))
    scene.device(read(LOW, 1))
    assert scene.findings() == []


def test_a_read_that_the_host_dropped_can_be_forgotten(scene):
    scene.device(read())
    scene.checker.forget_read(7)
    scene.device(read())
    assert scene.findings() == []


# -- what configuration space allows ---------------------------------------------------------------


def test_no_request_while_bus_mastering_is_off(scene):
    scene.config_write(0x04, 0x0002)
    scene.device(write())
    assert "bus mastering is off" in scene.findings()[0]


def test_bus_mastering_ends_with_the_completion_of_the_write_that_clears_it(scene):
    scene.config_write(0x04, 0x0002, answered=False)
    scene.device(write())
    assert scene.findings() == []
    scene.device(completion(completer=DEVICE, requester=HOST, tag=2))
    scene.device(write())
    assert "bus mastering is off" in scene.findings()[0]


def test_sizes_and_tags_follow_device_control(scene):
    scene.config_write(EXPRESS + 8, 0x1 << 5 | 0x1 << 12 | 1 << 8)  # 256, 256, extended tags
    scene.device(write(LOW, range(64)))
    scene.device(read(LOW, 64, tag=255))
    assert scene.findings() == []
    scene.device(read(LOW, 65))
    scene.device(write(LOW, range(65)))
    scene.device(write(attr=2))
    scene.device(write(attr=1))
    assert [finding.split(": ")[1] for finding in scene.findings()] == [
        "longer than Max_Read_Request_Size 256",
        "longer than Max_Payload_Size 256",
        "relaxed ordering is off",
        "no-snoop is off",
    ]


@pytest.mark.parametrize("control", [0x0000_0000, 0xC000_0000], ids=["off", "function mask"])
def test_no_interrupt_while_msix_is_off_or_masked(scene, control):
    scene.config_write(MSIX, control, first_be=0xC)
    scene.device(write(MESSAGE, [MESSAGE_DATA]))
    assert "MSI-X is off or masked" in scene.findings()[0]


def test_writes_to_read_only_registers_teach_nothing(scene):
    for offset in (0x00, 0x34, EXPRESS, EXPRESS + 4):
        scene.config_write(offset, 0xFFFF_FFFF)
    scene.config_write(MSIX, 0x0000_FFFF, first_be=0x3)
    scene.device(write(MESSAGE, [MESSAGE_DATA]))
    scene.device(read())
    assert scene.findings() == []


def test_reading_device_status_says_nothing_about_device_control():
    """Until its own bytes are seen, Max_Read_Request_Size is taken for the 512 bytes after a reset."""
    for control, length, found in ((None, 128, 0), (0x0810, 33, 1), (MPS_128_MRRS_512, 128, 0)):
        scene = Scene(device_control=control)
        scene.host(config((EXPRESS + 8) // 4, tag=1, first_be=0xC, requester=HOST, target=DEVICE))
        scene.device(completion([0x0001_0000], completer=DEVICE, requester=HOST, tag=1))
        scene.device(read(length=length))
        assert len(scene.findings()) == found


def test_a_function_level_reset_takes_bus_mastering_away(scene):
    """But what was begun may end, until the function answers a read again."""
    for _ in range(2):
        scene.config_write(EXPRESS + 8, MPS_128_MRRS_512 | 0x8000)
        scene.device(write(MESSAGE, [MESSAGE_DATA]))
        assert scene.findings() == []
    scene.host(config(0, tag=1, requester=HOST, target=DEVICE))
    scene.device(completion(status=2, completer=DEVICE, requester=HOST, tag=1))
    scene.device(write(MESSAGE, [MESSAGE_DATA]))
    assert scene.findings() == []
    scene.config_read(0x00, 0x1044_1AF4)
    scene.device(write(MESSAGE, [MESSAGE_DATA]))
    scene.device(read())
    assert sum("bus mastering is off" in finding for finding in scene.findings()) == 2


# -- INTx ------------------------------------------------------------------------------------------

ASSERT, DEASSERT = message(0x20, requester=DEVICE), message(0x24, requester=DEVICE)
OFF = {"Interrupt Disable": (0x04, BUS_MASTER | 0x400), "MSI-X": (MSIX, 0x8000_0000)}


@pytest.fixture
def wired(scene) -> Scene:
    """A scene without MSI-X."""
    scene.config_write(MSIX, 0, first_be=0xC)
    return scene


def test_messages_of_a_wire_alternate(wired):
    for packet in (ASSERT, DEASSERT) * 2:
        wired.device(packet)
    wired.checker.finish()
    assert wired.findings() == []
    wired.device(ASSERT)
    wired.device(ASSERT)
    assert "INTA is asserted a second time" in wired.findings()[0]
    wired.device(DEASSERT)
    wired.device(DEASSERT)
    assert "INTA is deasserted and was not asserted" in wired.findings()[0]


@pytest.mark.parametrize(("offset", "value"), OFF.values(), ids=OFF.keys())
def test_no_wire_is_asserted_once_the_host_knows_that_it_may_not(wired, offset, value):
    """A write's completion may overtake messages; the answer to a later read does not."""
    wired.config_write(offset, value)
    wired.device(ASSERT)
    wired.device(DEASSERT)
    assert wired.findings() == []
    wired.config_read(0x00, 0x1044_1AF4)
    wired.device(ASSERT)
    assert "INTA is asserted while MSI-X is on or INTx disabled" in wired.findings()[0]
    wired.checker.finish()
    assert "INTx is still asserted" in wired.findings()[0]


def test_the_pin_is_known_once_its_byte_was_read():
    checker = TlpChecker(HostMemory([Arena(LOW, bytearray(16))]), lambda address, content: False)
    for first_be, pin in ((0b0001, None), (0b0010, 1)):
        checker.from_host(config(0x3C // 4, first_be=first_be, tag=1, requester=HOST, target=DEVICE))
        checker.from_device(completion([0x0000_0100], requester=HOST, tag=1))
        assert checker.shadow.interrupt_pin() == pin
        checker.from_host(config(0x3C // 4, 0xFF, tag=1, requester=HOST, target=DEVICE))
        checker.from_device(completion(completer=DEVICE, requester=HOST, tag=1))
        assert checker.shadow.interrupt_pin() == pin


def test_a_read_that_was_sent_before_says_nothing(wired):
    wired.host(memory_read(BAR, tag=9, requester=HOST))
    wired.config_write(0x04, BUS_MASTER | 0x400)
    wired.device(completion([1], completer=DEVICE, requester=HOST, tag=9))
    wired.device(ASSERT)
    wired.device(DEASSERT)
    assert wired.findings() == []


def test_a_wire_may_be_asserted_again_as_soon_as_it_is_allowed(wired):
    wired.config_write(0x04, BUS_MASTER | 0x400)
    wired.config_read(0x00, 0x1044_1AF4)
    wired.config_write(0x04, BUS_MASTER, answered=False)
    wired.device(ASSERT)
    wired.device(completion(completer=DEVICE, requester=HOST, tag=2))
    wired.checker.finish()
    assert wired.findings() == []


def test_a_function_level_reset_takes_the_wire_back(wired):
    """[PCIe base 5.0 §6.6.2]"""
    for deassert in (True, False):
        wired.device(ASSERT)
        wired.config_write(EXPRESS + 8, MPS_128_MRRS_512 | 0x8000)
        if deassert:
            wired.device(DEASSERT)
        wired.host(config(0, tag=1, requester=HOST, target=DEVICE))
        wired.device(completion(status=2, completer=DEVICE, requester=HOST, tag=1))
        assert wired.findings() == []
        wired.config_read(0x00, 0x1044_1AF4)
        assert len(wired.findings()) == (not deassert)


# -- completions -----------------------------------------------------------------------------------

ANSWER = {"completer": DEVICE, "requester": HOST, "tag": 9}


def ask(scene: Scene, address: int = BAR, length: int = 1, **fields: int) -> None:
    scene.host(memory_read(address, length, tag=9, requester=HOST, **fields))


def test_correct_completions_pass(scene):
    ask(scene, BAR + 5, 2, first_be=0b1110, last_be=0b0001)
    scene.device(completion([1, 2], byte_count=4, lower_address=5, **ANSWER))
    ask(scene, BAR + 0x7C, 2, attr=2, tc=1)
    scene.device(completion([1], byte_count=8, lower_address=0x7C, attr=2, tc=1, **ANSWER))
    scene.device(completion([1], byte_count=4, lower_address=0, attr=2, tc=1, **ANSWER))
    ask(scene, first_be=0)
    scene.device(completion([1], byte_count=1, **ANSWER))
    scene.host(config(0, tag=9, requester=HOST, target=DEVICE))
    scene.device(completion([0x10441AF4], **ANSWER))
    scene.host(config(0, tag=9, requester=HOST, target=DEVICE | 3))
    scene.device(completion(status=1, **ANSWER))
    scene.host(io(0x80, 5, tag=9, requester=HOST))
    scene.device(completion(status=1, **ANSWER))
    scene.checker.finish()
    assert scene.findings() == []


def test_correct_completions_in_io_space_pass(scene):
    """Byte Count 4 and Lower Address 0 whatever the bytes.  [PCIe base 5.0 §2.2.9]"""
    for first_be in (0b0001, 0b1000, 0b0110, 0b1111):
        scene.host(io(0xC010, first_be=first_be, tag=9, requester=HOST))
        scene.device(completion([1], **ANSWER))
        scene.host(io(0xC010, 1, first_be=first_be, tag=9, requester=HOST))
        scene.device(completion(**ANSWER))
    scene.checker.finish()
    assert scene.findings() == []


BAD_IO_COMPLETIONS = {
    "byte count of the bytes": (completion([1], **ANSWER | {"byte_count": 1}), "byte count should be 4"),
    "lower address": (completion([1], **ANSWER | {"lower_address": 0x13}), "lower address should be 0x00"),
    "no data": (completion(**ANSWER), "success without data"),
    "two dwords": (completion([1, 2], **ANSWER), "more data than asked for"),
}


@pytest.mark.parametrize(("packet", "complaint"), BAD_IO_COMPLETIONS.values(), ids=BAD_IO_COMPLETIONS.keys())
def test_a_broken_completion_in_io_space_is_found(scene, packet, complaint):
    scene.host(io(0xC010, first_be=0b1000, tag=9, requester=HOST))
    scene.device(packet)
    (finding,) = scene.findings()
    assert complaint in finding


BAD_COMPLETIONS = {
    "another tag": (completion([1], **{**ANSWER, "tag": 8}), "completes no request"),
    "another requester": (completion([1], **{**ANSWER, "requester": 8}), "completes no request"),
    "another completer": (completion([1], **{**ANSWER, "completer": 0x108}), "completer id"),
    "traffic class": (completion([1], tc=1, **ANSWER), "traffic class"),
    "attributes": (completion([1], attr=1, **ANSWER), "attributes"),
    "byte count": (completion([1], byte_count=8, **ANSWER), "byte count should be 4"),
    "lower address": (completion([1], lower_address=4, **ANSWER), "lower address should be 0x00"),
    "too much data": (completion([1, 2], **ANSWER), "more data than asked for"),
    "success without data": (completion(**ANSWER), "success without data"),
    "data with an error": (completion([1], status=1, **ANSWER), "data with a status other"),
    "retry": (completion(status=2, **ANSWER), "retry status"),
    "reserved status": (completion(status=3, **ANSWER), "reserved completion status 3"),
    "BCM": (flip(completion([1], **ANSWER), 1, 1 << 12), "only bridges set BCM"),
    "reserved bit": (flip(completion([1], **ANSWER), 2, 1 << 7), "reserved bit 7"),
    "length without data": (flip(completion(status=1, **ANSWER), 0, 1), "length of a completion"),
    "locked": (completion(status=1, locked=True, **ANSWER), "locked completion"),
    "poison": (completion([1], ep=True, **ANSWER), "poisoned"),
    "byte count of an error": (completion(status=1, byte_count=1, **ANSWER), "byte count should be 4"),
    "four header dwords": (flip(completion([1], **ANSWER), 0, 1 << 29), "does not send this"),
}


@pytest.mark.parametrize(("packet", "complaint"), BAD_COMPLETIONS.values(), ids=BAD_COMPLETIONS.keys())
def test_a_broken_completion_is_found(scene, packet, complaint):
    ask(scene)
    scene.device(packet)
    assert any(complaint in finding for finding in scene.findings())


def test_a_second_completion_is_found(scene):
    ask(scene)
    scene.device(completion([1], **ANSWER))
    scene.device(completion([1], **ANSWER))
    assert "completes no request" in scene.findings()[0]


def test_a_posted_write_is_never_completed(scene):
    scene.host(memory_write(BAR, [1], tag=9, requester=HOST))
    scene.device(completion(**ANSWER))
    assert "completes no request" in scene.findings()[0]


def test_a_malformed_request_is_never_completed(scene):
    scene.host([*memory_read(BAR, tag=9, requester=HOST), 5])
    scene.device(completion(status=1, **ANSWER))
    assert "completes no request" in scene.findings()[0]


def test_a_read_may_be_split_at_128_bytes_only(scene):
    ask(scene, BAR + 0x40, 32)
    scene.device(completion(range(8), byte_count=128, lower_address=0x40, **ANSWER))
    assert "ends inside a 128-byte block" in scene.findings()[0]


def test_a_completion_longer_than_max_payload_is_found(scene):
    ask(scene, BAR, 33)
    scene.device(completion(range(33), byte_count=132, **ANSWER))
    assert "longer than Max_Payload_Size" in scene.findings()[0]


OTHER_REQUESTS = {
    "locked read of 64 bytes": (memory_read(BAR, 16, locked=True, tag=9, requester=HOST), 64),
    "FetchAdd of 32 bits": (atomic(0b01100, BAR, [1], tag=9, requester=HOST), 4),
    "Swap of 64 bits": (atomic(0b01101, BAR, [1, 2], tag=9, requester=HOST), 8),
    "CAS of 128 bits": (atomic(0b01110, BAR, range(8), tag=9, requester=HOST), 16),
    "I/O write": (io(0x80, 5, tag=9, requester=HOST), 4),
}


@pytest.mark.parametrize(("request_", "count"), OTHER_REQUESTS.values(), ids=OTHER_REQUESTS.keys())
def test_every_kind_of_request_has_its_byte_count(scene, request_, count):
    locked = request_[0] >> 24 & 0x1F == 1
    for byte_count in (count, count - 1):
        scene.host(request_)
        scene.device(completion(status=1, byte_count=byte_count, locked=locked, **ANSWER))
    (finding,) = scene.findings()
    assert f"byte count should be {count}" in finding


def test_data_in_answer_to_a_write_is_found(scene):
    scene.host(config(1, 0, tag=9, requester=HOST, target=DEVICE))
    scene.device(completion([1], **ANSWER))
    assert "data for CfgWr0" in scene.findings()[0]


def test_an_unanswered_request_is_found_at_the_end(scene):
    ask(scene)
    scene.checker.finish()
    assert "no completion for: MRd 00:00.0 tag 9 at 0xc0000000" in scene.findings()[0]


def test_an_unanswered_request_is_found_when_its_tag_is_used_again(scene):
    ask(scene)
    ask(scene)
    assert "no completion" in scene.findings()[0]


def test_a_request_that_receivers_need_not_check_may_go_unanswered(scene):
    ask(scene, BAR + 0xFFC, 2)
    scene.checker.finish()
    assert scene.findings() == []


def test_broken_framing_is_found(scene):
    scene.checker.broken_framing("tx: valid fell before ready came")
    assert scene.findings() == ["42 ns: tx: valid fell before ready came"]
