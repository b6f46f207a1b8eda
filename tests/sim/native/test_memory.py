"""How the native host touches memory that it shares with a driver at work."""

import platform
import subprocess
from pathlib import Path

import pytest
import virtio_sim.native

HERE = Path(__file__).parent
SOURCES = Path(virtio_sim.native.__file__).parent

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="instructions are stepped through by a flag of x86 processors"
)


@pytest.fixture(scope="module")
def touched(tmp_path_factory):
    program = tmp_path_factory.mktemp("memory") / "accesses"
    source = HERE / "accesses.cpp"
    subprocess.run(["g++", "-O2", "-std=c++17", f"-I{SOURCES}", source, "-o", program], check=True)

    def run(way, address, size):
        done = subprocess.run(
            [program, way, str(address), str(size)], check=True, capture_output=True, text=True
        )
        return [int(line) for line in done.stdout.split()]

    return run


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_what_is_aligned_is_stored_at_once_and_only_once(touched, size):
    # A used descriptor that was stored twice would undo what the driver has made of it in between.
    assert touched("write", 8, size) == [8]
    assert touched("write", 2040 + 8 - size, size) == [2048 - size]


@pytest.mark.parametrize(
    "address, size, pieces",
    [
        (8, 24, [8, 16, 24]),
        (8, 56, [8, 16, 24, 32, 40, 48, 56]),
        (3, 10, [3, 4, 8, 12]),
        (6, 7, [6, 8, 12]),
    ],
)
def test_longer_writes_go_upwards_in_pieces_none_of_which_is_stored_twice(touched, address, size, pieces):
    assert touched("write", address, size) == pieces


def test_of_a_descriptor_the_half_with_the_flags_is_read_first(touched):
    # Read later, it could say that an address counts which was read before the driver wrote it. [§2.8.21.1]
    assert touched("read", 32, 16) == [40, 32]
    assert touched("read", 0, 64) == [8, 0, 24, 16, 40, 32, 56, 48]


@pytest.mark.parametrize("address, size", [(2, 2), (1, 1), (4, 4), (8, 8)])
def test_what_is_aligned_is_read_at_once(touched, address, size):
    assert touched("read", address, size) == [address]


@pytest.mark.parametrize("address", [0, 1, 6, 13])
@pytest.mark.parametrize("size", [5, 16, 31, 300])
def test_whatever_the_alignment_all_bytes_are_copied_and_no_others(touched, address, size):
    assert touched("read", address, size)  # it compares them
    assert touched("write", address, size)
