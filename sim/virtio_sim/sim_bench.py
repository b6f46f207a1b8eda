"""Cocotb module of the main job: real work through the device, told step by step."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import cocotb
from cocotbext.virtio.backends.cocotb import CocotbHost
from cocotbext.virtio.devices.blk import VirtioBlk
from cocotbext.virtio.devices.rng import VirtioRng
from cocotbext.virtio.suite import Bench
from virtio_models.clock import Clock
from virtio_models.disk import Disk
from virtio_spec.blk import SECTOR_BYTES, BlkReqType

from . import fat
from .bring_up import bring_up
from .config import Configuration
from .net_session import echo
from .report import TestResult
from .runner import parameters, report_event
from .vmmci_session import START, Session

DEPTH = 4  # requests under way
RNG_REQUEST = 4096
BLK_REQUEST = 32 * SECTOR_BYTES
TIMEOUT_NS = 20_000_000

#: Requests and bytes of a step.
Work = tuple[int, int]


@cocotb.test()
async def job(dut) -> None:
    """Every step is reported; one that fails is the last, and fails the job."""
    given = parameters()
    configuration = Configuration(**given["configuration"])
    seed = given["seed"]
    image = Path(given["image"]).read_bytes() if "image" in given else None
    disk = Disk(image) if image is not None else None
    clock = Clock(seconds=START) if configuration.device == "vmmci" else None
    bench, host = await bring_up(dut, configuration, seed=seed, disk=disk, clock=clock)
    if configuration.device == "vmmci":
        session = Session(bench, report_event)
        for name, step in session.steps.items():
            await _step(f"vmmci: {name}", host, bench, lambda _, step=step: _talk(step))
        return
    if configuration.device == "rng":
        await _step("rng: entropy", host, bench, lambda progress: _entropy(bench, given["bytes"], progress))
        return
    if configuration.device == "net":
        await _step("net: echo", host, bench, lambda progress: echo(bench, given["bytes"], progress))
        return
    assert image is not None
    device = await bench.start(queue_size=None)
    blk = VirtioBlk(device)
    seen = bytearray()
    await _step("blk: read the image", host, bench, lambda progress: _read_image(blk, image, seen, progress))
    path, content = given["file"], random.Random(f"file {seed}").randbytes(given["file_bytes"])
    changes = fat.changed_sectors(bytes(seen), fat.add_file(bytes(seen), path, content))
    await _step("blk: write a file", host, bench, lambda progress: _write(blk, changes, progress))
    await _step("blk: flush", host, bench, lambda progress: _flush(blk, bench.disk))
    Path(given["result"]).write_bytes(bench.disk.durable(0, bench.disk.capacity))


async def _step(
    name: str, host: CocotbHost, bench: Bench, work: Callable[[Callable[[int], None]], Awaitable[Work]]
) -> None:
    """Do ``work``, which is handed a function for the bytes done so far, and report what became of it."""
    started, began = time.monotonic(), host.now_ns()
    message, requests, size = "", 0, 0
    try:
        requests, size = await work(lambda done: report_event(progress=name, done=done))
        host.checker.finish()
        findings = [text for checker in bench.checkers for text in checker.findings]
        findings += map(str, bench.host.memory.violations)
        assert not findings, f"{len(findings)} broken rules, the first: {findings[0]}"
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        print("\n".join(host.trace.lines()), flush=True)
        raise
    finally:
        result = TestResult(
            name=name,
            status="failed" if message else "passed",
            cycles=(host.now_ns() - began) // host.period_ns,
            wall_s=round(time.monotonic() - started, 3),
            simulated_ns=host.now_ns() - began,
            requests=requests,
            bytes=size,
            message=message,
        )
        report_event(result=asdict(result))


async def _talk(step: Callable[[], Awaitable[int]]) -> Work:
    return await step(), 0


async def _entropy(bench: Bench, total: int, progress: Callable[[int], None]) -> Work:
    """Buffers of all kinds of lengths; the bytes have to be the source's, in order and without a gap."""
    device = await bench.start()
    rng = VirtioRng(device)
    data, requests = bytearray(), 0
    while len(data) < total:
        batch = []
        ahead = 0
        while len(batch) < DEPTH and len(data) + ahead < total:
            room = min(RNG_REQUEST, total - len(data) - ahead)
            first = bench.rng.randint(1, room)
            batch.append(rng.submit(*(part for part in (first, room - first) if part)))
            ahead += room
        submitted = [await one for one in batch]
        await rng.wait(*submitted, timeout_ns=TIMEOUT_NS)
        data += b"".join(request.written for request in submitted)
        requests += len(submitted)
        progress(len(data))
    assert bytes(data) in bytes(bench.entropy.history), "the bytes are not those of the noise source"
    return requests, len(data)


async def _read_image(blk: VirtioBlk, image: bytes, seen: bytearray, progress: Callable[[int], None]) -> Work:
    sectors = len(image) // SECTOR_BYTES
    capacity = await blk.capacity()
    assert capacity == sectors, f"the device has {capacity} sectors, the image {sectors}"
    requests = 0
    while len(seen) < len(image):
        batch = []
        for number in range(DEPTH):
            start = len(seen) + number * BLK_REQUEST
            if start < len(image):
                room = min(BLK_REQUEST, len(image) - start)
                queue = number % len(blk.device.queues)
                batch.append(blk.prepare(BlkReqType.IN, start // SECTOR_BYTES, room=room, queue=queue))
        await _kick_all(blk)
        await blk.wait(*batch, timeout_ns=TIMEOUT_NS)
        seen += b"".join(request.result() for request in batch)
        requests += len(batch)
        progress(len(seen))
    assert bytes(seen) == image, "what was read is not the image"
    return requests, len(seen)


async def _write(blk: VirtioBlk, changes: list[tuple[int, bytes]], progress: Callable[[int], None]) -> Work:
    pieces = [
        (sector + start // SECTOR_BYTES, content[start : start + BLK_REQUEST])
        for sector, content in changes
        for start in range(0, len(content), BLK_REQUEST)
    ]
    done = 0
    for position in range(0, len(pieces), DEPTH):
        batch = [
            blk.prepare(BlkReqType.OUT, sector, content, queue=number % len(blk.device.queues))
            for number, (sector, content) in enumerate(pieces[position : position + DEPTH])
        ]
        await _kick_all(blk)
        await blk.wait(*batch, timeout_ns=TIMEOUT_NS)
        for request in batch:
            request.result()
        done += sum(len(content) for _, content in pieces[position : position + DEPTH])
        progress(done)
    return len(pieces), done


async def _kick_all(blk: VirtioBlk) -> None:
    for queue in blk.device.queues:
        await blk.device.kick(queue)


async def _flush(blk: VirtioBlk, disk: Disk) -> Work:
    await blk.flush()
    assert not disk.unflushed, f"{len(disk.unflushed)} sectors are not durable after the flush"
    return 1, 0
