"""The native harness from Python: one verilated endpoint and the host above it, in a shared library.

See ``harness.h`` for what each function does; bulk data is never copied, memory is mapped by address.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["IMMEDIATE", "Event", "LinkModel", "NativeEndpoint"]


class Event(IntFlag):
    """What a run tells, and may be asked to stop at."""

    STORED = 1
    MESSAGE = 2
    ANSWER = 4
    TAKEN = 8
    QUIET = 16
    SENT = 32


@dataclass(frozen=True)
class LinkModel:
    """The link and the host's memory; by default packets arrive in the cycle in which they are complete.

    Attributes
    ----------
    bytes_per_kilocycle
        Bandwidth of each direction; 0 for no limit.
    packet_bytes
        What a packet takes on the link beside its dwords: framing, sequence number, LCRC.
    latency
        Cycles from one end to the other.
    memory_latency, jitter
        Cycles from a read request to its data, and up to so many more at random.
    boundary
        Read completion boundary, 64 or 128 bytes. Completions have up to 128 bytes, by the seed.
    completion
        If not 0, completions end at multiples of so many bytes instead and nowhere else but at the end of a
        read: the longest that a host with this Max_Payload_Size sends.
    shuffle
        Whether completions of different reads change places.
    posted_credits
        Packets of the device that the link holds; 0 for no limit.
    stall
        Probability of a pause on the streams in a cycle, in thousandths.
    seed
        Of everything random.
    """

    bytes_per_kilocycle: int = 0
    packet_bytes: int = 0
    latency: int = 0
    memory_latency: int = 0
    jitter: int = 0
    boundary: int = 64
    completion: int = 0
    shuffle: bool = True
    posted_credits: int = 0
    stall: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.boundary not in (64, 128):
            raise ValueError(f"the read completion boundary is 64 or 128 bytes, not {self.boundary}")
        if self.completion and (self.completion % self.boundary or 4096 % self.completion):
            raise ValueError(
                f"completions end at multiples of the boundary that divide 4096, not of {self.completion}"
            )
        if not 0 <= self.stall < 1000:
            raise ValueError(f"the probability of a pause is 0 to 999 thousandths, not {self.stall}")


#: Packets arrive in the cycle in which they are complete, nothing ever pauses.
IMMEDIATE = LinkModel()


class _Link(ctypes.Structure):
    _fields_ = [
        (field.name, ctypes.c_uint64 if field.name == "seed" else ctypes.c_uint32)
        for field in fields(LinkModel)
    ]


_HANDLE, _U32, _U64, _INT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
_WORDS = ctypes.POINTER(_U32)
_TAMPER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _WORDS, _U32)
_SERVE = ctypes.CFUNCTYPE(_INT, ctypes.c_void_p, _INT, _U64, _U32, ctypes.c_void_p)
_SENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, _U32)
_ARRIVE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_SOURCE = ctypes.CFUNCTYPE(ctypes.c_uint8, ctypes.c_void_p)

#: Result and arguments behind the handle.
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "vn_destroy": (None, []),
    "vn_reset": (None, []),
    "vn_set_link": (None, [ctypes.POINTER(_Link)]),
    "vn_waves": (_INT, [ctypes.c_char_p]),
    "vn_cycles": (_U64, []),
    "vn_run": (_U32, [_U64, _U32, _U32]),
    "vn_map": (_INT, [_U64, ctypes.c_void_p, _U64, _U32]),
    "vn_unmap": (_INT, [_U64, _U64]),
    "vn_access": (_INT, [_U32, _U64, _U32, ctypes.POINTER(_U64), _U64]),
    "vn_inject": (None, [_WORDS, _U32, _INT]),
    "vn_answer": (_U32, [_WORDS, _U32]),
    "vn_set_tamper": (None, [_TAMPER, ctypes.c_void_p]),
    "vn_message": (_INT, [ctypes.POINTER(_U64), _WORDS]),
    "vn_intx": (_INT, []),
    "vn_intx_asserted": (_U64, []),
    "vn_lost_writes": (_U64, []),
    "vn_set_log": (None, [_INT]),
    "vn_log": (ctypes.c_size_t, [_WORDS, ctypes.c_size_t]),
    "vn_findings": (ctypes.c_char_p, []),
    "vn_set_storage": (None, [_SERVE, ctypes.c_void_p, _U64]),
    "vn_set_storage_memory": (None, [ctypes.c_void_p, _U64, _U32]),
    "vn_flushes": (_U64, []),
    "vn_set_entropy": (None, [_SOURCE, ctypes.c_void_p]),
    "vn_set_clock": (None, [_U64, _U32]),
    "vn_command": (_INT, [_U32, _U64]),
    "vn_event": (_INT, [_WORDS, _WORDS]),
    "vn_set_network": (None, [_SENT, _ARRIVE, ctypes.c_void_p]),
    "vn_set_cable": (None, [_INT, _U32]),
    "vn_frame": (None, [ctypes.c_char_p, _U32, _U32]),
    "vn_set_traffic": (None, [ctypes.c_char_p, _U32, _U64, _U32]),
    "vn_sent": (_U32, [ctypes.POINTER(_U64), ctypes.POINTER(_U64)]),
}

#: Fmt and Type of the host's requests.
_CONFIG_READ, _CONFIG_WRITE, _IO_READ, _IO_WRITE = 0x04, 0x44, 0x02, 0x42
_READ_32, _READ_64, _WRITE_32, _WRITE_64 = 0x00, 0x20, 0x40, 0x60
_STATUS = {0: "", 1: "UR", 2: "RRS", 4: "CA", -1: "timeout"}
_LOG_WORDS = 1 << 16


@cache
def _load(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    library.vn_create.restype, library.vn_create.argtypes = _HANDLE, [ctypes.POINTER(_Link)]
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, [_HANDLE, *arguments]
    return library


def _link(model: LinkModel) -> Any:
    return ctypes.byref(_Link(*vars(model).values()))


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of CPython's buffer protocol."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


class _Pinned:
    """The address of a buffer, read-only ones included, which stays where it is until released."""

    def __init__(self, memory: Any, size: int, *, writable: bool):
        self._view = _PyBuffer()
        get = ctypes.pythonapi.PyObject_GetBuffer
        get(ctypes.py_object(memory), ctypes.byref(self._view), int(writable))
        if self._view.len < size:
            held = self._view.len
            self.release()
            raise ValueError(f"a buffer of {held} bytes does not hold {size}")
        self.address = self._view.buf

    def release(self) -> None:
        """The buffer may move or go."""
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(self._view))


class NativeEndpoint:
    """One endpoint in its own simulation; time passes only inside accesses, commands and :meth:`run`.

    What a callback raises comes out of the call during which it was called.

    Parameters
    ----------
    library
        Made by :func:`virtio_sim.build.native_library`.
    link
        Of the host.
    timeout
        Cycles after which an access is given up.
    """

    def __init__(self, library: Path, *, link: LinkModel = IMMEDIATE, timeout: int = 100_000):
        self._library = _load(library)
        self._timeout = timeout
        self._handle = self._library.vn_create(_link(link))
        self._mapped: dict[int, _Pinned] = {}
        self._disk: _Pinned | None = None
        self._callbacks: dict[str, Any] = {}  # the library calls them, and does not keep them alive
        self._raised: BaseException | None = None
        self._words = (_U32 * _LOG_WORDS)()

    def close(self) -> None:
        """End the simulation; nothing else may be called after it."""
        if self._handle is None:
            return
        self._call("vn_destroy")
        self._handle = None
        for pinned in [*self._mapped.values(), *([self._disk] if self._disk else [])]:
            pinned.release()
        self._mapped.clear()
        self._callbacks.clear()

    def __enter__(self) -> "NativeEndpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._handle is None:
            raise ValueError("the endpoint is closed")
        result = getattr(self._library, name)(self._handle, *arguments)
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        return result

    def _callback(self, name: str, kind: Any, function: Callable[..., Any], otherwise: Any) -> Any:
        def call(_: Any, *arguments: Any) -> Any:
            try:
                return function(*arguments)
            except BaseException as error:
                self._raised = self._raised or error
                return otherwise

        self._callbacks[name] = kind(call)
        return self._callbacks[name]

    # -- time ----------------------------------------------------------------------------------------

    @property
    def cycles(self) -> int:
        """Clock cycles so far."""
        return self._call("vn_cycles")

    def run(self, cycles: int, *, stop_at: int = 0, quiet: int = 0) -> Event:
        """Let ``cycles`` pass, fewer if one of ``stop_at`` happens; what has happened.

        QUIET is that nothing moved on any port, and nothing was on its way, for ``quiet`` cycles.
        """
        return Event(self._call("vn_run", cycles, stop_at, quiet))

    def reset(self) -> None:
        """Reset the clock domain; packets, messages and events that nobody has fetched are gone."""
        self._call("vn_reset")

    def set_link(self, link: LinkModel) -> None:
        """Another link from now on."""
        self._call("vn_set_link", _link(link))

    def waves(self, path: Path) -> None:
        """Record all signals into a VCD file from now on; ``RuntimeError`` in a library built without."""
        if self._call("vn_waves", str(path).encode()):
            raise RuntimeError("this library was built without waves")

    # -- accesses: with the completion status, empty if it was success -----------------------------------

    def _access(self, kind: int, address: int, size: int, value: int = 0) -> tuple[str, int]:
        data = _U64(value)
        status = self._call("vn_access", kind, address, size, ctypes.byref(data), self._timeout)
        return _STATUS.get(status, f"status {status}"), data.value

    def config_read(self, offset: int, size: int) -> tuple[str, int]:
        """1, 2 or 4 bytes inside a dword."""
        return self._access(_CONFIG_READ, offset, size)

    def config_write(self, offset: int, size: int, value: int) -> str:
        """1, 2 or 4 bytes inside a dword."""
        return self._access(_CONFIG_WRITE, offset, size, value)[0]

    def io_read(self, address: int, size: int) -> tuple[str, int]:
        """1, 2 or 4 bytes inside a dword of I/O space."""
        return self._access(_IO_READ, address, size)

    def io_write(self, address: int, size: int, value: int) -> str:
        """1, 2 or 4 bytes inside a dword of I/O space."""
        return self._access(_IO_WRITE, address, size, value)[0]

    def memory_read(self, address: int, size: int) -> tuple[str, int]:
        """1 to 8 bytes of memory space."""
        return self._access(_READ_64 if address >> 32 else _READ_32, address, size)

    def memory_write(self, address: int, size: int, value: int) -> None:
        """1 to 8 bytes of memory space; posted: it arrives while time passes."""
        self._access(_WRITE_64 if address >> 32 else _WRITE_32, address, size, value)

    # -- host memory, interrupts ---------------------------------------------------------------------

    def map(
        self, address: int, memory: Any, size: int, *, readable: bool = True, writable: bool = True
    ) -> None:
        """Put ``size`` bytes of a buffer at an address; ``ValueError`` if something is there.

        Without ``writable`` the buffer may be read-only.
        """
        pinned = _Pinned(memory, size, writable=writable)
        if self._call("vn_map", address, pinned.address, size, readable | writable << 1):
            pinned.release()
            raise ValueError(f"{size:#x} bytes at {address:#x} overlap memory that is mapped already")
        self._mapped[address] = pinned

    def unmap(self, address: int, size: int) -> None:
        """Take back everything that starts in a range; no access touches it afterwards."""
        self._call("vn_unmap", address, size)
        for start in [start for start in self._mapped if address <= start < address + size]:
            self._mapped.pop(start).release()

    def messages(self) -> list[tuple[int, int]]:
        """Address and data of the writes of one dword to where there is no memory: MSI-X messages."""
        found = []
        address, data = _U64(), _U32()
        while self._call("vn_message", ctypes.byref(address), ctypes.byref(data)):
            found.append((address.value, data.value))
        return found

    @property
    def intx(self) -> bool:
        """Whether INTA is asserted, by the messages that have arrived."""
        return bool(self._call("vn_intx"))

    @property
    def intx_asserted(self) -> int:
        """Assert_INTA messages so far."""
        return self._call("vn_intx_asserted")

    @property
    def lost_writes(self) -> int:
        """Writes to where there is no memory, and that are no messages."""
        return self._call("vn_lost_writes")

    # -- packets -------------------------------------------------------------------------------------

    def inject(self, dwords: Sequence[int], *, cut: bool = False) -> None:
        """Send a packet past the link, malformed or not; ``cut``: without its last beat."""
        self._call("vn_inject", (_U32 * len(dwords))(*dwords), len(dwords), cut)

    def answer(self) -> list[int]:
        """The next answer to an injected request, empty if there is none."""
        count = self._call("vn_answer", self._words, _LOG_WORDS)
        return self._words[:count]

    def tamper(self, change: Callable[[list[int]], Sequence[Sequence[int]]] | None) -> None:
        """``change`` gets each completion of the host; what it returns goes to the device instead."""
        if change is None:
            self._call("vn_set_tamper", _TAMPER(), None)
            return

        def call(dwords: Any, count: int) -> None:
            for packet in change(dwords[:count]):
                self.inject(packet)

        self._call("vn_set_tamper", self._callback("tamper", _TAMPER, call, None), None)

    def log(self, on: bool) -> None:
        """Keep all packets for :meth:`packets`, or stop it."""
        self._call("vn_set_log", on)

    def packets(self) -> list[tuple[bool, int, list[int]]]:
        """Packets since the last call: whether the device sent it, its cycle, its dwords."""
        words: list[int] = []
        while count := self._call("vn_log", self._words, _LOG_WORDS):
            words += self._words[:count]
        found, position = [], 0
        while position < len(words):
            head, low, high = words[position : position + 3]
            start, position = position + 3, position + 3 + (head & 0x7FFF_FFFF)
            found.append((bool(head >> 31), high << 32 | low, words[start:position]))
        return found

    def findings(self) -> list[str]:
        """Broken rules of the streams since the last call."""
        return self._call("vn_findings").decode().splitlines()

    # -- behind the device ---------------------------------------------------------------------------

    def storage(self, serve: Callable[[int, int, int, int], bool], sectors: int) -> None:
        """``serve(operation, sector, count, address)``; False for an error.

        Operations: 0 read, 1 write, 2 flush, 3 discard, 4 write zeroes, 5 write zeroes and deallocate. What
        has to be durable is followed by a flush. Requests that are there together come in any order, by the
        link's seed. ``address`` is that of ``count * 512`` bytes of data read or to be written, which are
        there only during the call.
        """

        def call(*arguments: Any) -> int:
            return not serve(*arguments)

        self._call("vn_set_storage", self._callback("storage", _SERVE, call, 1), None, sectors)

    def storage_memory(self, memory: Any, sectors: int, *, latency: int = 0) -> None:
        """Serve the storage from a writable buffer, in order, each request after ``latency`` cycles."""
        pinned = _Pinned(memory, 512 * sectors, writable=True)
        self._call("vn_set_storage_memory", pinned.address, sectors, latency)
        if self._disk is not None:
            self._disk.release()
        self._disk = pinned

    @property
    def flushes(self) -> int:
        """Flushes of the storage so far."""
        return self._call("vn_flushes")

    def entropy(self, source: Callable[[], int] | None) -> None:
        """Take noise from ``source``, byte by byte; without, it is made from the link's seed."""
        made = _SOURCE() if source is None else self._callback("entropy", _SOURCE, source, 0)
        self._call("vn_set_entropy", made, None)

    def clock(self, seconds: int, microseconds: int) -> None:
        """What the clock of vmmci shows."""
        self._call("vn_set_clock", seconds & (1 << 64) - 1, microseconds)

    def command(self, command: int) -> int:
        """Raise a command on vmmci; the kind of the answer, -1 without one."""
        return self._call("vn_command", command, self._timeout)

    def events(self) -> list[tuple[int, int]]:
        """Kind and command of vmmci's events since the last call."""
        found = []
        kind, command = _U32(), _U32()
        while self._call("vn_event", ctypes.byref(kind), ctypes.byref(command)):
            found.append((kind.value, command.value))
        return found

    def network(
        self, sent: Callable[[bytes], None], arrive: Callable[[], tuple[bytes, bool, bool] | None]
    ) -> None:
        """``sent`` gets the device's frames. ``arrive`` gives the next one for it, or nothing.

        With a frame comes whether it is damaged, and whether its checksum was found right. After ``arrive``
        gave nothing it is called again only after :meth:`cable`. Frames come as fast as the cable is.
        """

        def note(address: int, size: int) -> None:
            sent(ctypes.string_at(address, size))

        def fetch() -> None:
            if (frame := arrive()) is not None:
                data, damaged, checked = frame
                self._call("vn_frame", data, len(data), damaged | checked << 1)

        made = self._callback("sent", _SENT, note, None), self._callback("arrive", _ARRIVE, fetch, None)
        self._call("vn_set_network", *made, None)

    def cable(self, up: bool, speed: int) -> None:
        """State of the link, and its speed in Mbit/s; there may be frames on it, too."""
        self._call("vn_set_cable", up, speed)

    def traffic(self, frame: bytes, count: int, *, period: int = 0) -> None:
        """Put frames like ``frame`` on the cable, their number, little-endian, in the last 4 octets.

        The next one begins after ``period`` cycles at the earliest.
        """
        if len(frame) < 4:
            raise ValueError(f"a frame of {len(frame)} octets has no place for a number")
        self._call("vn_set_traffic", frame, len(frame), count, period)

    def sent(self) -> tuple[int, int, int]:
        """Frames and octets that the device sent so far, and the CRC-32 of all of them in a row."""
        frames, octets = _U64(), _U64()
        check = self._call("vn_sent", ctypes.byref(frames), ctypes.byref(octets))
        return frames.value, octets.value, check
