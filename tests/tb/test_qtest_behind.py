"""What QEMU's devices have behind them, as QEMU speaks to it."""

import socket
import struct

import pytest
from cocotbext.virtio.backends.qtest_behind import serve_cable, serve_disk, serve_noise
from cocotbext.virtio.backends.qtest_protocol import Qtest, QtestError
from cocotbext.virtio.backends.qtest_pump import Pump, QemuGone
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.network import Network

READ, WRITE, FLUSH, TRIM, ZEROES = 0, 1, 3, 4, 6
FUA = 1


@pytest.fixture
def line():
    """A pump, and both ends of a connection that it serves."""
    pump, (ours, theirs) = Pump(), socket.socketpair()
    theirs.settimeout(5)
    yield pump, ours, theirs
    for each in (ours, theirs):
        each.close()
    pump.close()


def turn(pump: Pump) -> None:
    while pump.turn():
        pass


def test_noise_is_given_as_it_is_asked_for(line):
    pump, ours, theirs = line
    source = EntropySource(3)
    serve_noise(pump, ours, source)
    theirs.sendall(bytes([2, 5, 2]))  # the second request comes in two pieces
    turn(pump)
    theirs.sendall(bytes([9]))
    turn(pump)
    assert theirs.recv(100) == bytes(source.history) and len(source.history) == 14


def test_frames_have_their_length_in_front_both_ways(line):
    pump, ours, theirs = line
    network = Network()
    serve_cable(pump, ours, network)
    raw = struct.pack(">I", 3) + b"abc" + struct.pack(">I", 4) + b"defg"
    theirs.sendall(raw[:5])
    turn(pump)
    theirs.sendall(raw[5:])
    turn(pump)
    assert network.sent == [b"abc", b"defg"]
    network.send(b"damaged", error=True)
    network.send(b"hi")
    assert theirs.recv(100) == struct.pack(">I", 2) + b"hi"


class Client:
    """As much of a network block device's client as is needed."""

    def __init__(self, pump: Pump, theirs: socket.socket):
        self.pump, self.theirs, self.cookie = pump, theirs, 0
        assert theirs.recv(18)[:16] == b"NBDMAGICIHAVEOPT"
        theirs.sendall(struct.pack(">I", 3))
        for option in (8, 7):  # structured replies, which there are not; go
            theirs.sendall(struct.pack(">8sIIIH", b"IHAVEOPT", option, 6, 0, 0))
        turn(pump)
        assert struct.unpack(">QIII", theirs.recv(20))[1:] == (8, 1 << 31 | 1, 0)
        assert struct.unpack(">QIIIHQH", theirs.recv(32))[1:5] == (7, 3, 12, 0)
        assert struct.unpack(">QIII", theirs.recv(20))[1:] == (7, 1, 0)

    def __call__(self, kind: int, offset: int = 0, length: int = 0, data: bytes = b"", flags: int = 0):
        self.cookie += 1
        header = struct.pack(">IHHQQI", 0x25609513, flags, kind, self.cookie, offset, length)
        self.theirs.sendall(header + data)
        turn(self.pump)
        magic, error, cookie = struct.unpack(">IIQ", self.theirs.recv(16))
        assert (magic, cookie) == (0x67446698, self.cookie)
        return error, self.theirs.recv(length) if kind == READ and not error else b""


def test_a_disk_is_read_written_and_flushed_over_the_network(line):
    pump, ours, theirs = line
    disk = Disk(8)
    serve_disk(pump, ours, disk, read_only=False)
    client, data = Client(pump, theirs), bytes(range(256)) * 4
    assert client(WRITE, 1024, 1024, data) == (0, b"")
    assert client(READ, 1024, 1024) == (0, data)
    assert bytes(disk.data[1024:2048]) == data and disk.unflushed == {2, 3}
    assert client(FLUSH) == (0, b"") and not disk.unflushed
    assert client(WRITE, 0, 512, data[:512], FUA) == (0, b"") and not disk.unflushed
    assert client(ZEROES, 1024, 512) == (0, b"") and disk.counts["unmap"] == 1
    assert client(TRIM, 1536, 512) == (0, b"") and disk.counts["discard"] == 1


def test_faults_of_a_disk_and_what_is_beyond_its_end_are_errors(line):
    pump, ours, theirs = line
    disk = Disk(8)
    serve_disk(pump, ours, disk, read_only=False)
    client = Client(pump, theirs)
    disk.fail(2)
    disk.flush_fails = True
    assert [client(READ, 1024, 512)[0], client(FLUSH)[0], client(READ, 8 * 512, 512)[0]] == [5, 5, 5]
    disk.heal()
    assert client(READ, 1024, 512) == (0, bytes(512))


def test_interrupts_that_come_before_an_answer_are_taken_from_it(line):
    pump, ours, theirs = line
    qtest = Qtest(pump, ours)
    theirs.sendall(b"IRQ raise 17\nIRQ raise 3\nOK 0x2")
    theirs.sendall(b"a\nIRQ lower 17\nIRQ raise 17\nOK\nFAIL no such thing\n")
    assert qtest.read(0x1000, 4) == 0x2A
    qtest.write(0x1000, 2, 0xBEEF)
    assert (qtest.asserted, qtest.assertions) == ({17}, 2)
    assert theirs.recv(100) == b"readl 0x1000\nwritew 0x1000 0xbeef\n"
    with pytest.raises(QtestError, match="no such thing"):
        qtest.step(5)


def test_the_end_of_qemu_is_told_to_whoever_waits(line):
    pump, ours, theirs = line
    qtest = Qtest(pump, ours)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(QemuGone):
        qtest.read(0, 4)
