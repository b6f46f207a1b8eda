"""A socket in the file system: taken over from a dead server, never from a living one, and removed."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Listener", "SocketInUse", "listen", "meet"]

BACKLOG = 8


class SocketInUse(Exception):
    """The path cannot become the server's socket; the text is one sentence."""


class Listener:
    """A socket that others connect to, for the user only; made by :func:`listen` and :func:`meet`.

    Attributes
    ----------
    socket
        The listening socket, non-blocking.
    path
        Where it stands.
    """

    def __init__(self, path: Path):
        self.path, self.socket = path, socket.socket(socket.AF_UNIX)
        try:
            self.socket.bind(str(path))
            path.chmod(0o600)
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
            self._identity = self._look()
        except OSError:
            self.socket.close()
            raise

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Stop listening; removes the socket unless another one stands there by now."""
        self.socket.close()
        if self._identity is not None and self._look() == self._identity:
            self.path.unlink()
        self._identity = None


def listen(path: str | os.PathLike[str]) -> Listener:
    """Listen at ``path``; :class:`SocketInUse`, too, if a server does that already."""
    found = meet(path)
    if isinstance(found, Listener):
        return found
    found.close()
    raise SocketInUse(f"a server is listening at {path} already")


def meet(path: str | os.PathLike[str]) -> Listener | socket.socket:
    """Connection to whoever listens at ``path``, or else a listener there; :class:`SocketInUse`.

    Of several that meet at the same moment, one listens and all others are connected to it.
    """
    path = Path(path)
    try:
        with _alone(path.parent):
            found = _connection(path)
            if found is None:
                path.unlink(missing_ok=True)  # what a dead server left behind
                return Listener(path)
            return found
    except OSError as error:
        reason = "its name is too long" if error.errno is None else error.strerror
        raise SocketInUse(f"there can be no socket at {path}: {reason}") from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Nobody else makes a socket here meanwhile: one that is bound does not listen yet, and looks dead."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connection(path: Path) -> socket.socket | None:
    """To a living server, if there is one."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketInUse(f"{path} exists already and is no socket")
    except FileNotFoundError:
        return None
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    match connection.connect_ex(str(path)):
        case 0:
            return connection
        case errno.ECONNREFUSED | errno.ENOENT:
            connection.close()
            return None
        case _:
            connection.close()
            raise SocketInUse(f"a server is listening at {path} already")
