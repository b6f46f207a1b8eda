"""Messages that are wrong: an error and a sentence each, and a server that goes on."""

import array
import json
import os
import socket
import struct

import pytest
from helpers.vfio_user_client import Failed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEADER = struct.Struct("<HHIII")
FIXED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def header(command, payload=b"", *, size=None, flags=0):
    return HEADER.pack(7, command, 16 + len(payload) if size is None else size, flags, 0) + payload


@pytest.fixture
def running(serve):
    with serve(patience=1.0) as running:
        yield running
        with running.connect() as client:  # whatever happened, the next is served
            client.version()
            assert client.info() == (3, 9, 5)


# -- messages after which the connection ends --------------------------------------------------------


@pytest.mark.parametrize(
    "raw, sentence",
    [
        (header(13, size=15), "a message says that it has 15 bytes, and its header has 16"),
        (header(13, size=0), "a message says that it has 0 bytes, and its header has 16"),
        (header(9, size=1048609), "a message of 1048609 bytes is longer than the limit of 1048608"),
        (header(9, size=0xFFFF_FFFF), "a message of 4294967295 bytes is longer than the limit of 1048608"),
        (header(13, flags=2), "a message is of type 2, neither command nor reply"),
        (b"GET / HTTP/1.1\r\n\r\n", "a message of 1414012975 bytes is longer"),
        (bytes(16), "a message says that it has 0 bytes, and its header has 16"),
    ],
)
def test_a_stream_that_makes_no_sense_ends_the_connection(running, raw, sentence):
    with running.connect() as client:
        client.version()
        client.raw(raw)
        assert client.closed()
    line = running.wait_for("dropped")
    assert line.startswith(f"the client is dropped: {sentence}")
    assert line.endswith("; the device is reset and waits for the next")


def test_more_descriptors_than_agreed_end_the_connection(running):
    with running.connect() as client:
        client.version()
        fds = array.array("i", [client.socket.fileno()] * 17)
        client.socket.sendmsg([header(13)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        assert client.closed()
    running.wait_for("the client is dropped: a message has more than 16 file descriptors")


def test_descriptors_all_along_a_message_are_counted_too(running):
    with running.connect() as client:
        client.version()
        fds = array.array("i", [client.socket.fileno()] * 9)
        for part in (header(13, bytes(8))[:16], bytes(8)):
            client.socket.sendmsg([part], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        assert client.closed()
    running.wait_for("the client is dropped: a message has more than 16 file descriptors")


@pytest.mark.parametrize(
    "command, payload, errno, sentence",
    [
        (4, struct.pack("<IIII", 16, 0, 0, 0), "EINVAL", "the client begins with DEVICE_GET_INFO instead of"),
        (99, b"", "EINVAL", "the client begins with command 99 instead of VERSION"),
        (1, b"", "EINVAL", "the client's VERSION is malformed"),
        (1, b"\0\0\0", "EINVAL", "the client's VERSION is malformed"),
        (1, struct.pack("<HH", 1, 3), "EPROTONOSUPPORT", "the client speaks vfio-user 1.3, this server 0.0"),
        (1, bytes(4) + b"{}", "EINVAL", "the client's capabilities do not end with a zero byte"),
        (1, bytes(4) + b"{\0", "EINVAL", "the client's capabilities are not JSON"),
        (1, bytes(4) + b"\xff\xfe\0", "EINVAL", "the client's capabilities are not JSON"),
        (1, bytes(4) + b"[" * 100_000 + b"\0", "EINVAL", "the client's capabilities are not JSON"),
        (1, bytes(4) + b"[]\0", "EINVAL", "the client's capabilities are no JSON object"),
        (1, bytes(4) + b'{"capabilities": 3}\0', "EINVAL", "the client's capabilities are no JSON object"),
        (
            1,
            bytes(4) + b'{"capabilities": {"max_msg_fds": "8"}}\0',
            "EINVAL",
            "the client's capability max_msg_fds is '8'",
        ),
        (
            1,
            bytes(4) + b'{"capabilities": {"max_data_xfer_size": -1}}\0',
            "EINVAL",
            "the client's capability max_data_xfer_size is -1",
        ),
        (
            1,
            bytes(4) + b'{"capabilities": {"pgsizes": 65536}}\0',
            "EINVAL",
            "the client's page sizes 0x10000 do not include 0x1000",
        ),
    ],
)
def test_a_client_that_cannot_be_agreed_with_is_told_and_let_go(running, command, payload, errno, sentence):
    with running.connect() as client:
        with pytest.raises(Failed, match=errno):
            client.request(command, payload)
        assert client.closed()
    assert running.wait_for("dropped").startswith(f"the client is dropped: {sentence}")


@pytest.mark.parametrize("proposal", [b"", b"{}\0", b'{"capabilities": {}}\0', b'{"other": 1}\0'])
def test_capabilities_are_optional(running, proposal):
    with running.connect() as client:
        answer = client.request(1, struct.pack("<HH", 0, 7) + proposal)
        assert answer == struct.pack("<HH", 0, 0) + b'{"capabilities": {}}\0'


def test_a_client_with_smaller_limits_has_its_way(running):
    with running.connect() as client:
        _, _, agreed = client.version(capabilities={"max_msg_fds": 1, "max_data_xfer_size": 4096, "x": []})
        assert agreed == {"max_msg_fds": 1, "max_data_xfer_size": 4096}


# -- messages that are refused -----------------------------------------------------------------------


REFUSED = [
    (0, b"", "ENOSYS", "command 0 is refused: it is unknown"),
    (19, b"", "ENOSYS", "command 19 is refused: it is unknown"),
    (65535, bytes(5), "ENOSYS", "command 65535 is refused: it is unknown"),
    (1, bytes(4), "EINVAL", "VERSION is refused: a client does not send it now"),
    (11, bytes(16), "EINVAL", "DMA_READ is refused: a client does not send it now"),
    (12, bytes(16), "EINVAL", "DMA_WRITE is refused: a client does not send it now"),
    (6, bytes(16), "ENOTSUP", "DEVICE_GET_REGION_IO_FDS is refused: this server does not have it"),
    (14, bytes(8), "ENOTSUP", "DIRTY_PAGES is refused: this server does not have it"),
    (16, bytes(8), "ENOTSUP", "DEVICE_FEATURE is refused: this server does not have it"),
    (17, bytes(8), "ENOTSUP", "MIG_DATA_READ is refused: this server does not have it"),
    (18, bytes(8), "ENOTSUP", "MIG_DATA_WRITE is refused: this server does not have it"),
    (2, bytes(31), "EINVAL", "DMA_MAP is refused: it has 31 bytes instead of 32"),
    (3, bytes(25), "EINVAL", "DMA_UNMAP is refused: it has 25 bytes instead of 24"),
    (4, b"", "EINVAL", "DEVICE_GET_INFO is refused: it has 0 bytes instead of 16"),
    (4, bytes(16), "EINVAL", "DEVICE_GET_INFO is refused: it leaves 0 bytes for an answer of 16"),
    (5, bytes(33), "EINVAL", "DEVICE_GET_REGION_INFO is refused: it has 33 bytes instead of 32"),
    (5, bytes(32), "EINVAL", "DEVICE_GET_REGION_INFO is refused: it leaves 0 bytes for an answer of 32"),
    (
        5,
        struct.pack("<IIIIQQ", 32, 0, 9, 0, 0, 0),
        "EINVAL",
        "GET_REGION_INFO is refused: there is no region 9",
    ),
    (7, struct.pack("<IIII", 16, 0, 5, 0), "EINVAL", "IRQ_INFO is refused: there is no interrupt type 5"),
    (7, struct.pack("<IIII", 15, 0, 0, 0), "EINVAL", "IRQ_INFO is refused: it leaves 15 bytes for an answer"),
    (8, bytes(19), "EINVAL", "DEVICE_SET_IRQS is refused: it has 19 bytes instead of 20 or more"),
    (9, bytes(15), "EINVAL", "REGION_READ is refused: it has 15 bytes instead of 16"),
    (9, struct.pack("<QII", 0, 7, 4097), "EINVAL", "4097 bytes at 0x0 are not inside of region 7"),
    (9, struct.pack("<QII", 1 << 63, 7, 4), "EINVAL", "4 bytes at 0x8000000000000000 are not inside of"),
    (9, struct.pack("<QII", 0, 0, 4), "EINVAL", "REGION_READ is refused: there is no region 0"),
    (9, struct.pack("<QII", 0, 8, 0), "EINVAL", "REGION_READ is refused: there is no region 8"),
    (9, struct.pack("<QII", 0, 7, 1 << 31), "EINVAL", "2147483648 bytes at once are more than 1048576"),
    (10, bytes(15), "EINVAL", "REGION_WRITE is refused: it has 15 bytes instead of 16 or more"),
    (
        10,
        struct.pack("<QII", 0, 7, 4) + bytes(3),
        "EINVAL",
        "REGION_WRITE is refused: it is of 4 bytes and has 3",
    ),
    (
        10,
        struct.pack("<QII", 0, 7, 2) + bytes(3),
        "EINVAL",
        "REGION_WRITE is refused: it is of 2 bytes and has 3",
    ),
    (10, struct.pack("<QII", 16384, 4, 1) + b"\0", "EINVAL", "1 bytes at 0x4000 are not inside of region 4"),
    (13, b"\0", "EINVAL", "DEVICE_RESET is refused: it has 1 bytes of data"),
    (15, bytes(7), "EINVAL", "REGION_WRITE_MULTI is refused: it has 7 bytes instead of 8 or more"),
    (15, struct.pack("<Q", 1), "EINVAL", "REGION_WRITE_MULTI is refused: it is of 1 writes and has 8 bytes"),
    (15, struct.pack("<Q", 1 << 63), "EINVAL", "it is of 9223372036854775808 writes and has 8 bytes"),
    (
        15,
        struct.pack("<QQIIQ", 1, 0, 7, 9, 0),
        "EINVAL",
        "REGION_WRITE_MULTI is refused: a write of 9 bytes in it is longer than 8",
    ),
]


@pytest.mark.parametrize("command, payload, errno, sentence", REFUSED)
def test_a_wrong_message_is_refused_with_a_sentence(running, command, payload, errno, sentence):
    with running.connect() as client:
        client.version()
        with pytest.raises(Failed, match=errno):
            client.request(command, payload)
        assert sentence in running.wait_for("refused")
        client.send(command, payload, flags=0x10)  # the same without a reply
        assert client.info() == (3, 9, 5)


@pytest.mark.parametrize("command, count, allowed", [(2, 2, 1), (13, 1, 0), (4, 3, 0)])
def test_a_wrong_number_of_descriptors_is_refused(running, command, count, allowed):
    payloads = {2: struct.pack("<IIQQQ", 32, 3, 0, 0, 4096), 13: b"", 4: struct.pack("<IIII", 16, 0, 0, 0)}
    fd = os.memfd_create("x")
    with running.connect() as client:
        client.version()
        with pytest.raises(Failed, match="EINVAL"):
            client.request(command, payloads[command], fds=(fd,) * count)
        assert f"it came with {count} file descriptors" in running.wait_for("refused")
        assert client.info() == (3, 9, 5)
    os.close(fd)


def test_an_answer_that_nobody_waits_for_is_ignored(running):
    with running.connect() as client:
        client.version()
        client.raw(header(12, bytes(12), flags=1))
        assert client.info() == (3, 9, 5)


def test_a_message_may_come_byte_by_byte(running):
    with running.connect() as client:
        for byte in header(1, struct.pack("<HH", 0, 0) + json.dumps({}).encode() + b"\0"):
            client.raw(bytes([byte]))
        assert client.receive().payload[:4] == bytes(4)


def test_messages_may_come_all_at_once(running):
    with running.connect() as client:
        client.version()
        reads = [struct.pack("<QII", offset, 7, 4) for offset in range(0, 256, 4)]
        client.raw(b"".join(header(9, read) for read in reads * 3))
        answers = [client.receive().payload for _ in range(3 * len(reads))]
        assert [answer[:16] for answer in answers] == reads * 3


# -- garbage -----------------------------------------------------------------------------------------

payloads = st.one_of(
    st.binary(max_size=64),
    st.builds(
        lambda parts: b"".join(parts),
        st.lists(
            st.one_of(
                st.sampled_from([0, 1, 2, 4, 7, 16, 32, 0x24, 4096, 0xFFFF_FFFF]).map(
                    lambda n: n.to_bytes(4, "little")
                ),
                st.sampled_from([0, 4, 4096, 0x4000, 1 << 63, (1 << 64) - 1]).map(
                    lambda n: n.to_bytes(8, "little")
                ),
            ),
            max_size=8,
        ),
    ),
)
messages = st.builds(
    lambda command, payload, flags, error: (
        HEADER.pack(command, command, 16 + len(payload), flags, error) + payload
    ),
    st.one_of(st.integers(1, 19), st.integers(0, 0xFFFF)),
    payloads,
    st.sampled_from([0, 0x10, 1, 0x21]),
    st.integers(0, 200),
)


@FIXED
@given(st.lists(messages, max_size=30), st.booleans())
def test_whatever_comes_in_messages_the_next_client_is_served(running, stream, greeted):
    with running.connect() as client:
        if greeted:
            client.version()
        try:
            client.raw(b"".join(stream))
        except OSError:
            pass
    with running.connect() as client:
        client.version()
        assert client.read(7, 0, 4) == 0x1044_1AF4


@FIXED
@given(st.binary(max_size=200), st.booleans())
def test_whatever_bytes_come_the_next_client_is_served(running, stream, greeted):
    with running.connect() as client:
        if greeted:
            client.version()
        try:
            client.raw(stream)
        except OSError:
            pass
    with running.connect() as client:
        client.version()
        assert client.read(7, 0, 4) == 0x1044_1AF4
