"""The host's memory behind a root complex: serves the device's reads and writes, counts its interrupts."""

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import Event, Timer
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId
from virtio_spec.tlp import InterruptMessage

from ..checkers.packet import enabled_runs
from ..memory import HostMemory
from ..phy import MESSAGE_ADDRESS
from .messages import MESSAGE_VECTORS, message_of

__all__ = ["HostCompleter"]

INTX_WIRES = 4
#: Completions end at multiples of this many bytes, as with most root complexes.
READ_COMPLETION_BOUNDARY = 64


class HostCompleter:
    """Takes the place of the root complex's own memory.

    Writes are stored and reads are looked up in the order of arrival. Completions are split at the
    read completion boundary and those of different tags come in any order, both by ``seed``.

    Parameters
    ----------
    rc
        Root complex.
    memory
        Of the host.
    seed
        For the order and the size of completions.

    Attributes
    ----------
    shuffle
        Whether completions of different tags change places.
    completion
        If not 0, completions end at multiples of so many bytes instead, as long as the host's
        Max_Payload_Size allows.
    latency_ns
        From a read request to its first completion.
    fault
        Called with each read request; a completion status to answer with, ``"poison"``, ``"drop"``,
        or ``None`` for data.
    interrupts
        MSI-X messages per vector.
    wires
        Those of INTA to INTD, 0 to 3, that are asserted.
    assertions
        Assert_INTx messages.
    stored
        Set whenever the device has written something, or sent a message.
    """

    def __init__(self, rc: Any, memory: HostMemory, *, seed: int = 0):
        self.rc, self.memory = rc, memory
        self.shuffle = True
        self.completion = 0
        self.latency_ns = 0
        self.fault: Callable[[Any], CplStatus | str | None] | None = None
        self.interrupts: Counter[int] = Counter()
        self.wires: set[int] = set()
        self.assertions = 0
        self.stored = Event()
        self._messages = {message_of(vector)[0]: vector for vector in range(MESSAGE_VECTORS)}
        self._rng = random.Random(f"completer {seed}")
        self._pending: list[deque[Any]] = []
        self._wake = Event()
        for kind in (TlpType.MEM_READ, TlpType.MEM_READ_64):
            rc.register_rx_tlp_handler(kind, self._read)
        for kind in (TlpType.MEM_WRITE, TlpType.MEM_WRITE_64):
            rc.register_rx_tlp_handler(kind, self._write)
        cocotb.start_soon(self._answer())

    def is_message(self, address: int, data: bytes) -> bool:
        """Whether a write is an interrupt that :func:`.messages.message_of` has given out."""
        vector = self._messages.get(address)
        return vector is not None and data == message_of(vector)[1].to_bytes(4, "little")

    async def _write(self, tlp: Any) -> None:
        if (vector := self._messages.get(tlp.address)) is not None:
            self.interrupts[vector] += 1
        elif tlp.address == MESSAGE_ADDRESS:
            self._message(tlp.data[0])
        else:
            for start, end in enabled_runs(tlp.first_be, tlp.last_be, tlp.length):
                try:
                    self.memory.write(tlp.address + start, bytes(tlp.data[start:end]))
                except ValueError:  # no memory there: recorded by the checkers, dropped as hosts do
                    break
        self.stored.set()

    def _message(self, code: int) -> None:
        if code in range(InterruptMessage.ASSERT_INTA, InterruptMessage.ASSERT_INTA + INTX_WIRES):
            self.wires.add(code - InterruptMessage.ASSERT_INTA)
            self.assertions += 1
        elif code in range(InterruptMessage.DEASSERT_INTA, InterruptMessage.DEASSERT_INTA + INTX_WIRES):
            self.wires.discard(code - InterruptMessage.DEASSERT_INTA)

    async def _read(self, tlp: Any) -> None:
        fault = self.fault(tlp) if self.fault is not None else None
        if fault == "drop":
            return
        if isinstance(fault, CplStatus):
            completions = [self._completion(tlp, fault)]
        else:
            try:
                completions = self._data(tlp, poisoned=fault == "poison")
            except ValueError:
                completions = [self._completion(tlp, CplStatus.UR)]
        if self.latency_ns:
            await_ns = self.latency_ns

            async def later() -> None:
                await Timer(await_ns, "ns")
                self._queue(completions)

            cocotb.start_soon(later())
        else:
            self._queue(completions)

    def _queue(self, completions: list[Any]) -> None:
        self._pending.append(deque(completions))
        self._wake.set()

    def _completion(self, tlp: Any, status: CplStatus) -> Any:
        completion = Tlp.create_completion_for_tlp(tlp, PcieId(0, 0, 0), status is CplStatus.SC, status)
        completion.byte_count = tlp.get_be_byte_count()
        completion.lower_address = (tlp.address + tlp.get_first_be_offset()) & 0x7F
        return completion

    def _data(self, tlp: Any, *, poisoned: bool) -> list[Any]:
        """Completions with data for a read, of one or more read completion boundaries each."""
        content = self.memory.read(tlp.address, tlp.length * 4)
        position, left = tlp.address + tlp.get_first_be_offset(), tlp.get_be_byte_count()
        completions = []
        while True:
            completion = self._completion(tlp, CplStatus.SC)
            completion.byte_count, completion.lower_address, completion.ep = left, position & 0x7F, poisoned
            if limit := self.completion:
                take = min(left, limit - position % limit)
            else:
                limit = self._rng.choice((1, 2)) * READ_COMPLETION_BOUNDARY
                take = min(left, limit - position % READ_COMPLETION_BOUNDARY)
            first = position - position % 4 - tlp.address
            last = -(-(position + take) // 4) * 4 - tlp.address
            completion.set_data(content[first:last])
            completions.append(completion)
            position, left = position + take, left - take
            if left <= 0:
                return completions

    async def _answer(self) -> None:
        while True:
            while self._pending:
                number = self._rng.randrange(len(self._pending)) if self.shuffle else 0
                queue = self._pending[number]
                completion = queue.popleft()
                if not queue:
                    del self._pending[number]
                await self.rc.send(completion)
            self._wake.clear()
            await self._wake.wait()
