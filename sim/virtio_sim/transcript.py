"""What a guest and its host said to each other, as text and tables for people."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

__all__ = ["transcript"]

EPOCH = datetime(1970, 1, 1)
SECOND = 1_000_000


def transcript(events: Iterable[dict[str, Any]]) -> list[RenderableType]:
    """Sentences (``say``) as they are, and rows of readings (``drift``) that follow each other as a table."""
    told = [event for event in events if "say" in event or "drift" in event]
    shown: list[RenderableType] = []
    for is_drift, group in groupby(told, key=lambda event: "drift" in event):
        if is_drift:
            shown.append(_drift_table([event["drift"] for event in group]))
        else:
            shown += [event["say"] for event in group]
    return shown


def _drift_table(rows: list[dict[str, int]]) -> Table:
    """In microseconds: the host's clock since 1970, and how far the guest's is behind, read in each way."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("host's clock (UTC)", no_wrap=True)
    for title in ("seconds", "drift by words", "drift by bytes"):
        made.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        seconds = row["host"] // SECOND
        made.add_row(
            f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}",
            f"{seconds >> 32:x}_{seconds & 0xFFFF_FFFF:08x}",
            *(f"{row[habit] / 1000:+,.3f} ms" for habit in ("natural", "bytes")),
        )
    return made
