"""Tables that come with the package: a header, then rows, with tabs between the columns."""

from dataclasses import fields
from importlib.resources import files
from typing import Any, TypeVar

__all__ = ["cells_of", "rows_of"]

Row = TypeVar("Row", bound=Any)


def cells_of(name: str) -> list[list[str]]:
    """All lines of a table, each as its cells."""
    text = files("cocotbext.virtio.conformance").joinpath(name).read_text("utf-8")
    return [line.split("\t") for line in text.splitlines()]


def rows_of(name: str, kind: type[Row]) -> tuple[Row, ...]:
    """The rows of a table, whose columns have to be the fields of the dataclass ``kind``."""
    header, *rows = cells_of(name)
    names = [field.name for field in fields(kind)]
    if header != names:
        raise ValueError(f"the columns of the table are {header}, not {names}")
    return tuple(kind(*row) for row in rows)
