"""The client's side of interrupts: eventfds, masks, and INTx as VFIO has it."""

import errno
import os
from collections.abc import Callable

from .function import Function
from .msix import DeviceTable, Table
from .protocol import Irq, IrqFlag, IrqSet, Refused

__all__ = ["Interrupts", "Intx"]

ACTIONS = IrqSet.MASK | IrqSet.UNMASK | IrqSet.TRIGGER
KINDS = IrqSet.NONE | IrqSet.BOOL | IrqSet.EVENTFD


def signal(fd: int) -> None:
    """Signal an eventfd. One that is full has been signalled; one that is none hurts only its client."""
    try:
        os.write(fd, (1).to_bytes(8, "little"))
    except OSError:
        return


class Intx:
    """INTA of a client: one signal for an asserted level, then masked until the client unmasks it.

    Parameters
    ----------
    watch
        Called with an eventfd of the client's whose signal is an unmask, so that :meth:`resampled` is
        called then; with ``None`` before it is closed.
    """

    def __init__(self, watch: Callable[[int | None], None]):
        self._watch = watch
        self._resample: int | None = None
        self._trigger: int | None = None
        self.masked = False

    def assign(self, fd: int | None) -> None:
        """Where to signal to from now on; unmasks."""
        if self._trigger is not None:
            os.close(self._trigger)
        self._trigger, self.masked = fd, False

    def assign_resample(self, fd: int | None) -> None:
        """What unmasks from now on."""
        if self._resample is not None:
            self._watch(None)
            os.close(self._resample)
        self._resample = fd
        if fd is not None:
            self._watch(fd)

    def resampled(self) -> None:
        """The client has signalled; one that cannot be read is not asked again."""
        try:
            signalled = self._resample is not None and os.read(self._resample, 8)
        except BlockingIOError:
            return
        except OSError:
            signalled = b""
        if not signalled:
            self.assign_resample(None)
        self.masked = False

    def trigger(self) -> None:
        """Signal now."""
        if self._trigger is not None:
            signal(self._trigger)

    def update(self, level: bool) -> None:
        """The level as it is; an asserted one signals, unless masked."""
        if level and self._trigger is not None and not self.masked:
            self.masked = True
            self.trigger()

    def close(self) -> None:
        """Forget the client's eventfds."""
        self.assign(None)
        self.assign_resample(None)


class Interrupts:
    """All interrupts of a client.

    Parameters
    ----------
    function
        The device.
    table
        Whose MSI-X table the guest programs.
    send
        Sends a message to the client's memory: address and data.
    stray
        Hears of a message that goes nowhere.
    watch
        See :class:`Intx`.
    """

    def __init__(
        self,
        function: Function,
        table: Table,
        *,
        send: Callable[[int, int], None],
        stray: Callable[[int, int], None],
        watch: Callable[[int | None], None],
    ):
        self._function, self._send, self._stray = function, send, stray
        self.intx = Intx(watch)
        self.table = DeviceTable(function) if table is Table.CLIENT else None
        self._fds: dict[int, int] = {}
        self._masked: set[int] = set()

    def info(self, index: int) -> tuple[int, int]:
        """Flags and number of interrupts of a type."""
        if index == Irq.INTX:
            return IrqFlag.EVENTFD | IrqFlag.MASKABLE | IrqFlag.AUTOMASKED, 1
        if index == Irq.MSIX and self.table is not None and self.table.vectors:
            return IrqFlag.EVENTFD | IrqFlag.MASKABLE, self.table.vectors
        if index in list(Irq):
            return 0, 0
        raise Refused(errno.EINVAL, f"there is no interrupt type {index}")

    # -- from the device ---------------------------------------------------------------------------

    def deliver(self) -> None:
        """Pass on what the device has sent."""
        for address, data in self._function.interrupts():
            if self.table is None:
                self._send(address, data)
                continue
            vector = self.table.vector_of(address, data)
            if vector is None:
                self._stray(address, data)
            elif vector in self._fds:
                signal(self._fds[vector])
        self.intx.update(self._function.intx())

    def fill_in(self) -> None:
        """Bring the device's table up to date, where that is the server's."""
        if self.table is not None:
            self.table.fill_in(self._fds.keys() - self._masked)

    # -- from the client ---------------------------------------------------------------------------

    def set(self, flags: int, index: int, start: int, count: int, data: bytes, fds: list[int]) -> None:
        """DEVICE_SET_IRQS; takes the file descriptors it keeps out of ``fds``. :class:`Refused`."""
        _, vectors = self.info(index)
        action, kind = flags & ACTIONS, flags & KINDS
        if flags != action | kind or action.bit_count() != 1 or kind.bit_count() != 1:
            raise Refused(errno.EINVAL, f"flags {flags:#x} are not one action and one kind of data")
        if start + count > vectors:
            raise Refused(
                errno.EINVAL, f"interrupts {start} to {start + count - 1} of type {index} are not {vectors}"
            )
        if len(data) != (count if kind == IrqSet.BOOL else 0):
            raise Refused(errno.EINVAL, f"{len(data)} bytes of data came for {count} interrupts")
        if len(fds) not in ((0, count) if kind == IrqSet.EVENTFD else (0,)):
            raise Refused(errno.EINVAL, f"{len(fds)} file descriptors came for {count} interrupts")
        if kind == IrqSet.EVENTFD:
            self._assign(action, index, start, count, fds)
        elif kind == IrqSet.NONE and action == IrqSet.TRIGGER and not count:
            self._assign(action, index, 0, vectors, [])
        else:
            chosen = [start + i for i in range(count) if kind == IrqSet.NONE or data[i]]
            self._act(action, index, chosen)
        self.fill_in()

    def _assign(self, action: int, index: int, start: int, count: int, fds: list[int]) -> None:
        if action != IrqSet.TRIGGER and (index, action) != (Irq.INTX, IrqSet.UNMASK):
            raise Refused(errno.ENOTSUP, "the eventfd of a mask is not signalled here")
        taken: list[int | None] = [fds.pop(0) for _ in range(len(fds))]
        for fd in taken:
            if fd is not None:
                os.set_blocking(fd, False)  # whatever it is, signalling it must not wait
        taken = taken or [None] * count
        if index == Irq.INTX:
            for fd in taken:
                self.intx.assign_resample(fd) if action == IrqSet.UNMASK else self.intx.assign(fd)
        else:
            self._assign_vectors(dict(enumerate(taken, start)))

    def _assign_vectors(self, new: dict[int, int | None]) -> None:
        old = {vector: self._fds.pop(vector) for vector in new if vector in self._fds}
        self._fds.update({vector: fd for vector, fd in new.items() if fd is not None})
        self._masked.difference_update(new)
        for vector, fd in old.items():
            if vector not in self._fds:
                self._fds[vector] = fd
                self._masked.add(vector)
        # Vectors that lose their eventfd are masked in the device first; what it sent before, arrives.
        self.fill_in()
        self.deliver()
        for vector, fd in old.items():
            if self._fds[vector] == fd:
                del self._fds[vector]
                self._masked.discard(vector)
            os.close(fd)

    def _act(self, action: int, index: int, chosen: list[int]) -> None:
        if index == Irq.INTX:
            if action == IrqSet.TRIGGER:
                for _ in chosen:
                    self.intx.trigger()
            elif chosen:
                self.intx.masked = action == IrqSet.MASK
        elif action == IrqSet.TRIGGER:
            for vector in chosen:
                if vector in self._fds:
                    signal(self._fds[vector])
        elif action == IrqSet.MASK:
            self._masked.update(chosen)
        else:
            self._masked.difference_update(chosen)

    def close(self) -> None:
        """Forget the client's eventfds."""
        self.intx.close()
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._masked.clear()
