"""Cocotb module: what only raw packets and a misbehaving host can show. Each case has a fresh bench."""

from collections.abc import Awaitable, Callable
from typing import Any

import cocotb
from cocotb.triggers import SimTimeoutError, with_timeout
from cocotbext.pcie.core.tlp import CplStatus
from cocotbext.virtio.backends.cocotb import CocotbHost
from cocotbext.virtio.phy import INJECTOR_ID
from cocotbext.virtio.suite import Bench
from cocotbext.virtio.suite.helpers import exercise
from helpers.tlp import atomic, completion, config, io, memory_read, memory_write, message, parse
from virtio_sim.bring_up import bring_up
from virtio_sim.config import Configuration
from virtio_sim.runner import parameters, report_event
from virtio_spec.layout import LEGACY_BAR, MODERN_BAR, Cause
from virtio_spec.virtio import DeviceStatus

DEVICE = 0x0100
SUCCESS, UNSUPPORTED = 0, 1
SENDER = {"requester": INJECTOR_ID, "tag": 0x5A}

Case = Callable[[Bench, CocotbHost], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(run: Any) -> Case:
    """Put a case on the list."""
    CASES[run.__name__] = run
    return run


async def answer(host: CocotbHost, packet: list[int]) -> object:
    """The device's completion for an injected packet."""
    host.port.inject(packet)
    return parse(await with_timeout(host.port.answers.get(), 20, "us"))


async def silent(host: CocotbHost, packet: list[int]) -> None:
    """The device takes the packet, says nothing, and still answers the next request."""
    host.port.inject(packet)
    await host.sleep(2_000)
    assert host.port.answers.empty(), f"an answer to {[hex(dword) for dword in packet[:4]]}"
    assert await host.config_read(0, 2) == 0x1AF4


@case
async def malformed_packets_are_dropped(bench: Bench, host: CocotbHost) -> None:
    address = host.bar_address(MODERN_BAR)
    read = memory_read(address, **SENDER)
    for packet in (
        [*read, 0],
        memory_read(address, wide=True, **SENDER)[:3],
        memory_write(address, [1, 2], **SENDER)[:-1],
        [*memory_write(address, [1], **SENDER), 2],
        memory_write(address, range(256), **SENDER),
        [read[0] | 0b100 << 29, *read[1:]],
        [read[0] | 0b11111 << 24, *read[1:]],
        [*config(0, **SENDER), 0],
    ):
        await silent(host, packet)


@case
async def unsupported_requests_are_answered(bench: Bench, host: CocotbHost) -> None:
    address = host.bar_address(MODERN_BAR)
    for packet in (
        memory_read(0x7000_0000, **SENDER),
        memory_read(address + 0x10_0000, 4, **SENDER),
        memory_read(address, locked=True, **SENDER),
        io(0x80, **SENDER),
        io(0x80, 1, **SENDER),
        atomic(0b01100, address, [1], **SENDER),
        config(0, kind=1, target=DEVICE, **SENDER),
        config(0, target=DEVICE | 3, **SENDER),
        config(1, 0, target=DEVICE | 3, **SENDER),
    ):
        got = await answer(host, packet)
        assert (got.status, got.payload, got.tag) == (UNSUPPORTED, [], 0x5A), got


@case
async def what_nobody_asked_for_is_dropped(bench: Bench, host: CocotbHost) -> None:
    for packet in (
        completion([1], completer=0, requester=DEVICE, tag=3),
        completion(status=1, completer=0, requester=DEVICE, tag=200),
        memory_write(0x7000_0000, [1, 2, 3], **SENDER),
        message(0x7E, **SENDER),
        message(0x7F, [1, 2], **SENDER),
        message(0x20, **SENDER),
    ):
        await silent(host, packet)
    await exercise(bench, await bench.start())


@case
async def a_long_read_of_a_bar_agrees_with_short_ones(bench: Bench, host: CocotbHost) -> None:
    address = host.bar_address(MODERN_BAR)
    words = [await host.bar_read(MODERN_BAR, 4 * number, 4) for number in range(14)]
    got = await answer(host, memory_read(address, 14, **SENDER))
    assert (got.status, got.payload) == (SUCCESS, words)


@case
async def a_read_over_a_128_byte_boundary_comes_in_two(bench: Bench, host: CocotbHost) -> None:
    address = host.bar_address(MODERN_BAR)
    first = await answer(host, memory_read(address + 0x7C, 2, first_be=0b1100, **SENDER))
    second = parse(await with_timeout(host.port.answers.get(), 20, "us"))
    assert (first.byte_count, first.lower_address, len(first.payload)) == (6, 0x7E, 1)
    assert (second.byte_count, second.lower_address, len(second.payload)) == (4, 0, 1)


@case
async def accesses_without_byte_enables_have_no_effect(bench: Bench, host: CocotbHost) -> None:
    status = host.bar_address(MODERN_BAR) + 0x14
    await host.bar_write(MODERN_BAR, 0x14, 1, DeviceStatus.ACKNOWLEDGE)
    host.port.inject(memory_write(status, [0], first_be=0, **SENDER))
    got = await answer(host, memory_read(status, first_be=0, **SENDER))
    assert (got.status, got.byte_count, len(got.payload)) == (SUCCESS, 1, 1)
    got = await answer(host, config(1, 0, first_be=0, target=DEVICE, **SENDER))
    assert got.status == SUCCESS
    assert await host.bar_read(MODERN_BAR, 0x14, 1) == DeviceStatus.ACKNOWLEDGE


@case
async def attributes_and_traffic_class_come_back(bench: Bench, host: CocotbHost) -> None:
    packet = memory_read(host.bar_address(MODERN_BAR), attr=3, tc=5, **SENDER)
    got = await answer(host, packet)  # the checker compares
    assert got.status == SUCCESS


@case
async def many_requests_at_once_are_all_answered(bench: Bench, host: CocotbHost) -> None:
    """As many as there are non-posted credits, of all kinds, with posted writes between them."""
    address, port = host.bar_address(MODERN_BAR), host.bar_address(LEGACY_BAR)
    for tag in range(32):
        fields = {"tag": tag, "requester": INJECTOR_ID}
        kinds = memory_read(address + 4, **fields), io(port + 12, **fields), io(port + 4, 0, **fields)
        host.port.inject([*kinds, config(0, target=DEVICE, **fields)][tag % 4])
        host.port.inject(memory_write(address + 0x8, [tag], requester=INJECTOR_ID))
    tags = [parse(await with_timeout(host.port.answers.get(), 20, "us")).tag for _ in range(32)]
    assert sorted(tags) == list(range(32))
    assert await host.bar_read(MODERN_BAR, 0x8, 4) == 31


@case
async def an_io_request_waits_for_the_end_of_a_reset(bench: Bench, host: CocotbHost) -> None:
    """A legacy driver reads the status once; a reset lasts as long as the slowest read on its way."""
    bench.transport = "legacy"
    device = await bench.start()
    host.completer.latency_ns = 3_000
    device.prepare(0, [], [8])
    await device.kick()
    await host.sleep(500)
    status, started = host.bar_address(LEGACY_BAR) + 16, host.now_ns()
    host.port.inject(io(status, 0, first_be=0b0100, **SENDER | {"tag": 1}))
    got = await answer(host, io(status, first_be=0b0100, **SENDER))
    assert (got.tag, got.payload) == (1, [])
    got = parse(await with_timeout(host.port.answers.get(), 20, "us"))
    assert not got.payload[0] >> 16 & 0xFF
    assert host.now_ns() > started + 1_500
    host.completer.latency_ns = 0
    await exercise(bench, await bench.start())


async def _fails(bench: Bench, host: CocotbHost, fault: CplStatus | str) -> None:
    """A read for the rings that goes wrong stops the device with a cause, and a reset mends it."""
    device = await bench.start()

    def spoil(tlp: Any) -> CplStatus | str:
        if fault == "drop":
            host.checker.forget_read(tlp.tag)
        return fault

    host.completer.fault = spoil
    device.prepare(0, [], [8])
    await device.kick(0)
    for _ in range(200):
        if await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET:
            break
        await host.sleep(200)
    assert await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET
    assert (await device.diagnostics()).cause == Cause.DMA_ERROR
    host.completer.fault = None
    await device.start()
    await exercise(bench, device)


@case
async def an_unsupported_dma_read_stops_the_device(bench: Bench, host: CocotbHost) -> None:
    await _fails(bench, host, CplStatus.UR)


@case
async def an_aborted_dma_read_stops_the_device(bench: Bench, host: CocotbHost) -> None:
    await _fails(bench, host, CplStatus.CA)


@case
async def poisoned_data_stops_the_device(bench: Bench, host: CocotbHost) -> None:
    await _fails(bench, host, "poison")


@case
async def a_dma_read_that_is_never_answered_stops_the_device(bench: Bench, host: CocotbHost) -> None:
    await _fails(bench, host, "drop")


@case
async def late_completions_of_any_order_are_put_together(bench: Bench, host: CocotbHost) -> None:
    host.completer.latency_ns = 1_000
    device = await bench.start()
    for _ in range(5):
        await exercise(bench, device)


@cocotb.test()
@cocotb.parametrize(name=list(CASES))
async def packets(dut, name: str) -> None:
    """One case, with the checkers looked at afterwards."""
    given = parameters()
    configuration = Configuration(**given["configuration"])
    bench, host = await bring_up(dut, configuration, stall=given["stall"], seed=given["seed"])
    message_text = ""
    try:
        await with_timeout(CASES[name](bench, host), 5, "ms")
        await host.sleep(1_000)  # the link comes to rest; the next case starts with a reset
        host.checker.finish()
        found = [text for checker in bench.checkers for text in checker.findings]
        found += map(str, host.memory.violations)
        assert not found, "; ".join(found)
    except (Exception, SimTimeoutError) as error:
        message_text = f"{type(error).__name__}: {error}"
        print("\n".join([f"--- {name} failed: {message_text}", *host.trace.lines()]), flush=True)
        raise
    finally:
        report_event(name=name, status="failed" if message_text else "passed", message=message_text)
