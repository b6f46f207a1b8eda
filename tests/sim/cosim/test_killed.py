"""A client is killed under load; only what it shares with the server says what it was doing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.native import BLK, endpoint_library
from helpers.vfio_user_blk import BULK_BYTES, PIECE_BYTES, BlkGuest, piece
from helpers.vfio_user_client import GuestMemory
from helpers.vfio_user_guest import BASE
from virtio_sim.cosim.image import ImageFile
from virtio_sim.cosim.native import NativeFunction
from virtio_sim.native.library import NativeEndpoint

TESTS = Path(__file__).parents[2]
#: What each of the clients does when it dies.
LOADS = ("read", "write", "read")
REQUESTS = 42  # each client's, of which the first two are the write and the flush
DEADLINE_S = 8.0


class Watched(NativeFunction):
    """Counts resets."""

    resets = 0

    def reset(self):
        self.resets += 1
        super().reset()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(2 * BULK_BYTES))
    return path


@pytest.fixture
def function(image):
    with ImageFile(image) as disk, NativeEndpoint(endpoint_library(BLK)) as endpoint:
        endpoint.storage(disk.serve, disk.sectors)
        yield Watched(endpoint)


def client_under_load(path, memory, seed, load):
    """A client whose data was flushed and whose queue is full."""
    command = [sys.executable, "-m", "helpers.vfio_user_blk", str(path), str(memory.fd), str(seed), load]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(
        command, env=environment, pass_fds=[memory.fd], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["flushed\n", "loaded\n"]
    return process


def left(running):
    """What the server says of a client that has left, one at a time."""
    said = running.wait_for("the client left")
    running.lines.remove(said)
    return said


def test_a_client_that_is_killed_under_load_loses_nothing_that_it_flushed(serve, function, image):
    with serve(function) as running:
        for seed, load in enumerate(LOADS):
            with GuestMemory(BlkGuest.memory_size()) as memory:
                process = client_under_load(running.path, memory, seed, load)
                seen = BlkGuest(None, memory)
                until = time.monotonic() + DEADLINE_S
                while seen.used() < 3:
                    assert time.monotonic() < until, "the bulk does not begin"
                resets = function.resets
                process.kill()
                process.communicate()
                assert left(running).endswith("the device is reset and waits for the next")
                assert function.resets == resets + 1
                assert 3 <= seen.used() < REQUESTS, "nothing was under way"
                stopped = memory.read(0, memory.size)
                flushed = b"".join(piece(number) for number in range(seed + 1))
                assert image.read_bytes()[: len(flushed)] == flushed
                with running.connect() as client, GuestMemory(BlkGuest.memory_size()) as other:
                    client.version()
                    client.dma_map(BASE, other.size, other.fd)
                    guest = BlkGuest(client, other)
                    guest.enumerate()
                    assert guest.status() == 0
                    guest.begin()
                    assert guest.load(0, len(flushed)) == flushed
                    guest.store(len(LOADS) * PIECE_BYTES // 512, piece(99))
                assert memory.read(0, memory.size) == stopped, "the dead client's memory was written"
                assert image.read_bytes()[len(LOADS) * PIECE_BYTES :][:PIECE_BYTES] == piece(99)
            left(running)
