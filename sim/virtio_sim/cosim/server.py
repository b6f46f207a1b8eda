"""The vfio-user server: one device, one client at a time, many in a row."""

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from .connection import Connection, Gone
from .function import Function, FunctionFault
from .listener import listen
from .msix import Table
from .protocol import ProtocolError
from .session import Session

__all__ = ["Server"]

AT_ONCE = 64  # messages handled before the device goes on and others are looked at
#: Steps of the device between two looks at the socket. A doorbell waits for half of them: with a request at a
#: time it comes while the device is still running out from the last. Looking costs as much as some 10.
BUDGET = 250
WAITING = 8  # clients that may be about to be told that they come too late


class Server:
    """Serves a device at a socket; :class:`~.listener.SocketInUse`.

    A second client is told that the device is busy. When a client disappears, the device is reset and
    the client's memory taken from it; then the next may come. While the device has nothing to do,
    the server sleeps.

    Parameters
    ----------
    function
        The device.
    path
        Where the socket is to stand; removed by :meth:`close`.
    table
        Whose MSI-X table the guest programs; see :mod:`.msix`.
    budget
        Steps of the device between two looks at the socket.
    patience
        Seconds that a client may take to finish a message it has begun, or to take a reply.
    report
        Hears what happens, one sentence each.
    """

    def __init__(
        self,
        function: Function,
        path: str | os.PathLike[str],
        *,
        table: Table = Table.CLIENT,
        budget: int = BUDGET,
        patience: float = 10.0,
        report: Callable[[str], None] = print,
    ):
        if budget < 1:
            raise ValueError(f"a budget of {budget} steps lets the device do nothing")
        if patience <= 0:
            raise ValueError(f"patience for {patience} s is none")
        self._function, self._table = function, Table(table)
        self._budget, self._patience, self._report = budget, patience, report
        self._listener = listen(path)
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._client: Connection | None = None
        self._session: Session | None = None
        self._resample: int | None = None
        self._late: set[Connection] = set()
        self._stopped = False
        self.watch(self._listener.socket, self._accept)
        self.watch(self._woken, self._stop_now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """Where the socket stands."""
        return str(self._listener.path)

    def stop(self) -> None:
        """Let :meth:`serve` return; from any thread or signal handler."""
        with suppress(OSError):
            self._wake.send(b"\0")

    def close(self) -> None:
        """Let the client go, and remove the socket."""
        self._end()
        for late in list(self._late):
            self._dismiss(late)
        self._selector.close()
        self._wake.close()
        self._woken.close()
        self._listener.close()

    def serve(self) -> None:
        """Serve clients until :meth:`stop`; :class:`~.function.FunctionFault` if not even a reset helps."""
        self._report(f"waiting for a client at {self.path}")
        while not self._stopped:
            busy = self._work()
            for key, _ in self._selector.select(0 if busy else self._timeout()):
                key.data()
            self._look_at_deadlines()

    # -- the loop's parts --------------------------------------------------------------------------

    def watch(self, file: Any, callback: Callable[[], None]) -> None:
        """Call back when there is something to read, after which the device goes on."""
        self._selector.register(file, selectors.EVENT_READ, callback)

    def _stop_now(self) -> None:
        self._stopped = True

    def _work(self) -> bool:
        if self._session is None:
            return False
        session = self._session
        return bool(self._guarded(lambda: session.work(self._budget)))

    def _pump(self) -> None:
        """Handle what the client has sent."""
        for _ in range(AT_ONCE):
            if self._session is None or self._client is None or not self._guarded(self._one):
                return

    def _one(self) -> bool:
        assert self._session is not None and self._client is not None
        message = self._client.receive()
        if message is not None:
            self._session.handle(message)
        return message is not None

    def _guarded(self, step: Callable[[], bool]) -> bool:
        """A step of the session, which may be its last."""
        try:
            return step()
        except Gone as reason:
            greeted = self._session is not None and self._session.greeted
            self._end(str(reason) if greeted else None)
        except (ProtocolError, FunctionFault) as reason:
            self._end(f"the client is dropped: {reason}")
        return False

    def _timeout(self) -> float | None:
        connections = self._late | ({self._client} if self._client else set())
        deadlines = [c.deadline for c in connections if c.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        client = self._client
        if client is not None and client.deadline is not None and client.deadline <= now:
            self._end(f"the client is dropped: it has not finished a message in {self._patience:g} s")
        for late in [late for late in self._late if late.deadline is not None and late.deadline <= now]:
            self._dismiss(late)

    def _watch_resample(self, fd: int | None) -> None:
        if self._resample is not None:
            self._selector.unregister(self._resample)
        self._resample = fd
        if fd is not None:
            self.watch(fd, self._resampled)

    def _resampled(self) -> None:
        if self._session is not None:
            self._session.interrupts.intx.resampled()

    # -- clients -----------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.socket.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                self._report(f"a client could not be let in: {error.strerror}")
            return
        connection = Connection(sock, patience=self._patience)
        connection.expect()
        self._pump()  # the client before may have left already
        if self._client is None:
            self._begin(connection)
        elif len(self._late) < WAITING:
            self._late.add(connection)
            self.watch(connection, lambda: self._refuse(connection))
        else:
            connection.close()

    def _begin(self, connection: Connection) -> None:
        self._function.reset()
        self._client = connection
        self._session = Session(
            self._function, connection, table=self._table, report=self._report, watch=self._watch_resample
        )
        self.watch(connection, self._pump)

    def _refuse(self, late: Connection) -> None:
        """Answer its first message: there is a client already."""
        try:
            message = late.receive()
            if message is None:
                return
            message.close()
            late.reply_error(message.header, errno.EBUSY)
            self._report("a second client is refused: the device serves one at a time")
        except (Gone, ProtocolError) as reason:
            self._report(f"a second client is refused: {reason}")
        self._dismiss(late)

    def _dismiss(self, late: Connection) -> None:
        self._late.discard(late)
        self._selector.unregister(late)
        late.close()

    def _end(self, reason: str | None = None) -> None:
        """Nothing of the client stays."""
        client, session = self._client, self._session
        if client is None or session is None:
            return
        self._client = self._session = None
        self._selector.unregister(client)
        client.close()
        try:
            self._function.reset()
        finally:
            session.close()
        if reason:
            self._report(f"{reason}; the device is reset and waits for the next")
