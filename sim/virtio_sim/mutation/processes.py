"""Work in processes of their own, so that what crashes, or never ends, is an answer like any other."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

__all__ = ["Ended", "limit", "spread"]

Item = TypeVar("Item")
#: Tells the parent something.
Tell = Callable[[Any], None]


@dataclass
class Ended(Generic[Item]):
    """A process that has ended.

    Attributes
    ----------
    item
        What it was about.
    told
        What it told, in order.
    ended_by
        What ended it, if it did not end by itself.
    """

    item: Item
    told: list[Any] = field(default_factory=list)
    ended_by: signal.Signals | None = None


def limit(seconds: float) -> None:
    """End this process in so many seconds, unless it is called again; 0: not any more."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def spread(items: Sequence[Item], work: Callable[[Item, Tell], None], *, jobs: int) -> Iterator[Ended[Item]]:
    """Call ``work`` for each item, ``jobs`` at a time; what became of each, as it ends."""
    context = get_context("fork")
    waiting = list(items)[::-1]
    running: dict[Connection, tuple[BaseProcess, Ended[Item]]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            item = waiting.pop()
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(work, item, send), daemon=True)
            process.start()
            send.close()
            running[receive] = process, Ended(item)
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            process, ended = running[ready]
            try:
                ended.told.append(ready.recv())
            except EOFError:
                process.join()
                del running[ready]
                ready.close()
                code = process.exitcode or 0
                if code > 0:
                    raise RuntimeError(f"the process for {ended.item} failed") from None
                ended.ended_by = signal.Signals(-code) if code else None
                yield ended


def _child(work: Callable[[Item, Tell], None], item: Item, send: Connection) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    work(item, send.send)
