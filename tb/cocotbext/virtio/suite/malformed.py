"""Packets that are broken: poisoned, malformed, cut off, or that answer nothing. The device goes on.

Only for backends with raw packets.
"""

from virtio_spec.pci import Capability, ConfigOffset, DeviceStatus, Status
from virtio_spec.tlp import Fmt, MessageCode

from .bus import (
    CORRECTABLE,
    DIGEST_DWORD,
    FUNCTION,
    LINK,
    NON_FATAL,
    UNSUPPORTED,
    place_address,
    port,
    scratch,
    set_scratch,
)
from .errors import ErrorBits
from .helpers import QUIET_NS, Scratch, exercise, same
from .packets import DIGEST, POISONED, Injector, completion
from .registry import EVERY_DEVICE, LEGACY, Bench, case

__all__: list[str] = []

FATAL = DeviceStatus.FATAL_ERROR


async def ignored(bench: Bench, packets: dict[str, list[int]], bits: DeviceStatus) -> None:
    """Send packets that are not to be answered or acted upon; each has to set just these error bits.

    They would write to the scratch register, if anywhere.
    """
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    expected = bench.rng.getrandbits(32)
    await set_scratch(bench, expected)
    for what, packet in packets.items():
        await injector.link.send(packet)
        await scratch(bench, expected, what)
        await errors.expect(bits, what)
        injector.none_waits(what)
    await exercise(bench, device)


async def told(errors: ErrorBits, what: str) -> None:
    """``AssertionError`` unless poison was detected; a receiver may call it advisory.  [§6.2.3.2.4.3]"""
    device, status = await errors.read()
    same(device in (NON_FATAL, CORRECTABLE), True, f"whether one error bit stands for {what}")
    same(status, Status.DETECTED_PARITY_ERROR, f"status after {what}")
    await errors.clear()


@case(needs=LINK, proves=FUNCTION)
async def poisoned_writes_have_no_effect(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    at = place_address(bench)
    await set_scratch(bench, 0x1357_9BDF)
    await injector.link.send(injector.write(at, [0], bits=POISONED))
    await scratch(bench, 0x1357_9BDF, "a poisoned write")
    await told(errors, "a poisoned write")
    command = await bench.host.config_read(ConfigOffset.COMMAND, 2)
    packet = injector.config(ConfigOffset.COMMAND, 0, bits=POISONED)
    await injector.refused(packet, "a poisoned configuration write")
    same(await bench.host.config_read(ConfigOffset.COMMAND, 2), command, "command after a poisoned write")
    await told(errors, "a poisoned configuration write")
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def packets_of_the_wrong_size_are_malformed(bench: Bench) -> None:
    injector = Injector(bench)
    at = place_address(bench)
    command = ConfigOffset.COMMAND
    await ignored(
        bench,
        {
            "a write with too short a payload": injector.write(at, [0], length=2),
            "a write with too long a payload": injector.write(at, [0, 0], length=1, last_be=0),
            "a write without payload": injector.write(at, [0])[:-1],
            "a write with a digest missing": injector.write(at, [0], bits=DIGEST),
            "a write with a digest not announced": [*injector.write(at, [0]), DIGEST_DWORD],
            "a read with a payload": [*injector.read(at), 0],
            "a header cut short": injector.read(0x1000)[:2],
            "a configuration write without payload": injector.config(command, 0)[:-1],
            "a configuration write with two dwords": [*injector.config(command, 0), 0],
        },
        FATAL,
    )


@case(needs=LINK, proves=FUNCTION)
async def headers_that_make_no_sense_are_malformed(bench: Bench) -> None:
    injector = Injector(bench)
    at = place_address(bench)
    end = at | 0xFFC
    four = Fmt.HEADER_4DW << 29
    await ignored(
        bench,
        {
            "an undefined type": injector.read(at, bits=0b00110 << 24),
            "another undefined type": injector.write(at, [0], bits=0b11110 << 24),
            "an undefined format": injector.read(at, bits=0b110 << 29),
            "a prefix": [Fmt.PREFIX << 29 | 0x1000_0000, *injector.write(at, [0])],
            "a configuration read with four dwords": [*injector.config(0, bits=four), 0],
            "a read that crosses 4 KiB": injector.read(end, 2),
            "a write that crosses 4 KiB": injector.write(end, [0, 0]),
            "a read of one dword with last byte enables": injector.read(at, last_be=1),
            "a write of one dword with last byte enables": injector.write(at, [0], last_be=0xF),
            "a read of two dwords without the first": injector.read(at, 2, first_be=0),
            "a write of two dwords without the last": injector.write(at, [0, 0], last_be=0),
            "a configuration read of two dwords": injector.config(0, length=2),
            "a configuration write of two dwords": injector.config(ConfigOffset.COMMAND, 0, length=2),
            "a configuration write with last byte enables": injector.config(
                ConfigOffset.COMMAND, 0, last_be=0xF
            ),
        },
        FATAL,
    )


@case(devices=EVERY_DEVICE, needs=LINK, proves=FUNCTION, transports=LEGACY)
async def io_requests_that_make_no_sense_are_malformed(bench: Bench) -> None:
    injector, errors, register = Injector(bench), await ErrorBits.clean(bench), Scratch(bench)
    device = await bench.start()
    await register.write(0x1234)
    four = Fmt.HEADER_4DW << 29
    packets = {
        "an I/O read of two dwords": port(injector, 12, length=2),
        "an I/O write of two dwords": [*port(injector, 12, 0, length=2), 0],
        "an I/O read with last byte enables": port(injector, 12, last_be=1),
        "an I/O write with last byte enables": port(injector, 12, 0, last_be=0xF),
        "an I/O write without payload": port(injector, 12, 0)[:-1],
        "an I/O read with a payload": [*port(injector, 12), 0],
        "an I/O read with four dwords": [*port(injector, 12, bits=four), 0],
    }
    for what, packet in packets.items():
        await injector.link.send(packet)
        same(await register.read(), 0x1234, f"a register after {what}")
        await errors.expect(FATAL, what)
        injector.none_waits(what)
    packet = port(injector, 12, 0, bits=POISONED)
    await injector.refused(packet, "a poisoned I/O write")
    same(await register.read(), 0x1234, "a register after a poisoned I/O write")
    await told(errors, "a poisoned I/O write")
    await register.write(0)
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def payloads_beyond_the_set_limit_are_malformed(bench: Bench) -> None:
    """Max_Payload_Size holds as it is set, not as it is supported.  [PCIe base 5.0 §2.2.2]"""
    injector, transport = Injector(bench), (await bench.probe()).transport
    at = place_address(bench)
    express = transport.capability(Capability.PCI_EXPRESS)
    supported = await bench.host.config_read(express + 4, 1) & 7
    control = await bench.host.config_read(express + 8, 2)
    try:
        for setting in range(supported + 1):
            await bench.host.config_write(express + 8, 2, control & ~(7 << 5) | setting << 5)
            dwords = 32 << setting
            packets = {
                f"a write of {4 * n} bytes": injector.write(at, [0] * n) for n in (dwords + 1, 2 * dwords)
            }
            await ignored(bench, packets, FATAL)
    finally:
        await bench.host.config_write(express + 8, 2, control)


@case(needs=LINK, proves=FUNCTION)
async def a_packet_that_was_cut_off_never_was(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    at, expected = place_address(bench), bench.rng.getrandbits(32)
    await set_scratch(bench, expected)
    for dwords in (16, 32):
        packet = injector.write(at, [0] * dwords)
        await injector.link.send_cut(packet)
        await scratch(bench, expected, f"a write of {dwords} dwords that was cut off")
    await errors.expect(DeviceStatus(0), "packets that were cut off")
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def messages_are_taken_by_their_codes(bench: Bench) -> None:
    """Those of the standard without an error, vendors' of type 0 and unknown ones not.  [§2.2.8]"""
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    good = {
        "Set_Slot_Power_Limit": injector.message(MessageCode.SET_SLOT_POWER_LIMIT, [0x1234], routing=4),
        "Vendor_Defined Type 1": injector.message(MessageCode.VENDOR_DEFINED_1, routing=2),
        "Vendor_Defined Type 1 with data": injector.message(
            MessageCode.VENDOR_DEFINED_1, [1, 2, 3], routing=3
        ),
        "Unlock": injector.message(MessageCode.UNLOCK, routing=3),
    }
    bad = {
        "Vendor_Defined Type 0": injector.message(0x7E, routing=2),
        "Vendor_Defined Type 0 with data": injector.message(0x7E, [1], routing=3),
        "a message with an unknown code": injector.message(0x33, routing=4),
    }
    for messages, bits in ((good, DeviceStatus(0)), (bad, NON_FATAL | UNSUPPORTED)):
        for what, packet in messages.items():
            await injector.link.send(packet)
            await errors.expect(bits, what)
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def completions_nobody_asked_for_are_ignored(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device, link = await bench.start(), injector.link
    await bench.host.sleep(QUIET_NS)
    good = completion(link, 0, [0xFFFF_FFFF])
    strays = {
        "a completion without a read": good,
        "a completion with a tag out of all ranges": completion(link, 255, [1]),
        "a completion with status UR": completion(link, 2, status=1),
        "a completion with status CA": completion(link, 8, status=4),
        "a long completion": completion(link, 9, list(range(32)), byte_count=128),
        "a completion for a tag of ten bits": [good[0] | 1 << 19, *good[1:]],
    }
    for what, packet in strays.items():
        await link.send(packet)
        await errors.expect(CORRECTABLE, what)
    await exercise(bench, device)
