"""One client, from its first message to its last."""

import errno
from collections.abc import Callable

from .commands import Commands
from .connection import Connection, Message
from .function import Function, FunctionFault
from .interrupts import Interrupts
from .maps import Maps
from .msix import Table
from .protocol import (
    DMA_ACCESS,
    MAJOR,
    MINOR,
    VERSION,
    Command,
    Flag,
    Header,
    ProtocolError,
    Refused,
    answer_capabilities,
    command_name,
)

__all__ = ["Session"]

COMPLAINTS = 20  # sentences about one client


class Session:
    """A client and the device.

    Parameters
    ----------
    function
        The device, fresh from a reset.
    connection
        The client.
    table
        Whose MSI-X table the guest programs.
    report
        Hears of everything odd, in one sentence each.
    watch
        Watches the eventfd with which the client unmasks INTx; see :class:`~.interrupts.Intx`.

    Attributes
    ----------
    greeted
        Whether the two have agreed on a version.
    """

    def __init__(
        self,
        function: Function,
        connection: Connection,
        *,
        table: Table,
        report: Callable[[str], None],
        watch: Callable[[int | None], None],
    ):
        self._function, self._connection, self._report = function, connection, report
        self._complaints = 0
        self.greeted = False
        self._maps = Maps(function)
        self.interrupts = Interrupts(function, table, send=self._send, stray=self._stray, watch=watch)
        self._commands = Commands(function, self._maps, self.interrupts, table)

    def work(self, budget: int) -> bool:
        """Let the device go on; False if it has nothing to do."""
        busy = self._function.work(budget)
        self.interrupts.deliver()
        return busy

    def handle(self, message: Message) -> None:
        """Do what a message asks for; :class:`ProtocolError` if this is the end."""
        header = message.header
        try:
            if header.is_reply:
                self._answered(header)
                return
            if not self.greeted:
                reply = self._greet(message)
            else:
                reply = self._commands.run(header.command, message.payload, message.fds)
            if header.wants_reply:
                self._connection.reply(header, reply)
        except (Refused, FunctionFault) as error:
            self._complain(f"{command_name(header.command)} is refused: {error}")
            if header.wants_reply:
                number = error.number if isinstance(error, Refused) else errno.EIO
                self._connection.reply_error(header, number)
        except ProtocolError as error:
            if header.wants_reply:
                self._connection.reply_error(header, error.number)
            raise
        finally:
            message.close()
        self.interrupts.deliver()

    def close(self) -> None:
        """Take everything of the client's away from the device, which has been reset."""
        self._maps.clear()
        self.interrupts.close()

    def _complain(self, sentence: str) -> None:
        self._complaints += 1
        if self._complaints <= COMPLAINTS:
            self._report(sentence)
        elif self._complaints == COMPLAINTS + 1:
            self._report("this client has more to complain of, which is left out")

    def _send(self, address: int, data: int) -> None:
        self._connection.post(Command.DMA_WRITE, DMA_ACCESS.pack(address, 4) + data.to_bytes(4, "little"))

    def _stray(self, address: int, data: int) -> None:
        self._complain(f"the device wrote {data:#x} to {address:#x}, where it has no memory")

    def _answered(self, header: Header) -> None:
        """Nothing that the server sends is to be answered; QEMU does it for errors."""
        if header.flags & Flag.ERROR:
            self._complain(f"{command_name(header.command)} was refused by the client, errno {header.error}")

    # -- version ----------------------------------------------------------------------------------

    def _greet(self, message: Message) -> bytes:
        header, payload = message.header, message.payload
        if header.command != Command.VERSION:
            name = command_name(header.command)
            raise ProtocolError(f"the client begins with {name} instead of VERSION", errno.EINVAL)
        if len(payload) < VERSION.size or message.fds:
            raise ProtocolError("the client's VERSION is malformed", errno.EINVAL)
        major, minor = VERSION.unpack_from(payload)
        if major != MAJOR:
            raise ProtocolError(
                f"the client speaks vfio-user {major}.{minor}, this server {MAJOR}.{MINOR}",
                errno.EPROTONOSUPPORT,
            )
        try:
            capabilities = answer_capabilities(payload[VERSION.size :])
        except Refused as error:
            raise ProtocolError(str(error), error.number) from None
        self.greeted = True
        self._report("a client has come")
        return VERSION.pack(MAJOR, MINOR) + capabilities
