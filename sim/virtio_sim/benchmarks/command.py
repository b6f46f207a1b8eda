"""The command that measures."""

from typing import Annotated

import typer
from rich.console import Console

from ..build import build_root
from ..config import check_seed
from .guests import guests
from .report import Row, table, write_results
from .speed import speed

__all__ = ["bench"]


def bench(
    seed: Annotated[int, typer.Option("--seed", "-s", help="For everything random.")] = 1,
    guest: Annotated[
        bool, typer.Option(help="Boot a Linux guest too, which takes QEMU and a kernel from Debian.")
    ] = True,
) -> None:
    """Measure: how fast the backends simulate, and what a Linux guest gets out of the endpoint.

    Ends with a table, and the same in build/bench/results.json. Ratios are of one run, on one machine.
    """
    check_seed(seed)
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    rows: list[Row] = []
    for found in (speed(seed), guests(seed, say) if guest else ()):
        for row in found:
            rows.append(row)
            say(f"{row.bench}, {row.config}: {row.value:,.2f} {row.figure}")
    write_results(build_root() / "bench" / "results.json", rows)
    console.print(table(rows))
