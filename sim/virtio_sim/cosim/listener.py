"""A socket in the file system: taken over from a dead server, never from a living one, and removed."""

import errno
import os
import socket
import stat
from pathlib import Path

__all__ = ["Listener", "SocketInUse"]

BACKLOG = 8


class SocketInUse(Exception):
    """The path cannot become the server's socket; the text is one sentence."""


class Listener:
    """Listens at ``path``, for the user only; :class:`SocketInUse`.

    Attributes
    ----------
    socket
        The listening socket, non-blocking.
    path
        Where it stands.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._clear()
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.bind(str(self.path))
            self.path.chmod(0o600)
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
            self._identity = self._look()
        except OSError as error:
            self.socket.close()
            reason = "its name is too long" if error.errno is None else error.strerror
            raise SocketInUse(f"there can be no socket at {self.path}: {reason}") from None

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _clear(self) -> None:
        """Remove what a dead server left behind."""
        try:
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise SocketInUse(f"{self.path} exists already and is no socket")
            if self._answers():
                raise SocketInUse(f"a server is listening at {self.path} already")
            self.path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise SocketInUse(f"there can be no socket at {self.path}: {error.strerror}") from None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(str(self.path)) not in (errno.ECONNREFUSED, errno.ENOENT)

    def close(self) -> None:
        """Stop listening; removes the socket unless another one stands there by now."""
        self.socket.close()
        if self._identity is not None and self._look() == self._identity:
            self.path.unlink()
        self._identity = None
