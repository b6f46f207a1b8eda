"""The command that measures."""

from typing import Annotated

import typer
from rich.console import Console

from ..build import build_root
from ..config import ConfigError, check_seed
from .catalog import BENCHMARKS, chosen
from .document import write_documents
from .report import Row, read_results, renewed, table, write_results
from .sizes import BENCHES, plot

__all__ = ["bench"]


def bench(
    seed: Annotated[int, typer.Option("--seed", "-s", help="For everything random.")] = 1,
    only: Annotated[
        str, typer.Option("--only", "-o", help="Only benchmarks with all these words in their name.")
    ] = "",
    guest: Annotated[
        bool, typer.Option(help="Boot a Linux guest too, which takes QEMU and a kernel from Debian.")
    ] = True,
    names: Annotated[bool, typer.Option("--list", help="List the benchmarks, measure nothing.")] = False,
    document: Annotated[
        bool, typer.Option("--document", help="Measure nothing: put the last results into the documentation.")
    ] = False,
) -> None:
    """Measure: the endpoint against its link, how fast the backends simulate, what a Linux guest gets.

    Ends with a table, and the same in build/bench/results.json. Counts in cycles and bytes are exact and
    repeat; ratios of time are of one run, on one machine. A goal that is missed is no failure.
    """
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    if names:
        for each in BENCHMARKS:
            say(f"{each.name}: {each.how}")
        return
    results = build_root() / "bench" / "results.json"
    if document:
        for path in write_documents(read_results(results)):
            say(f"{path}")
        return
    check_seed(seed)
    picked = chosen(only, guest=guest)
    if not picked:
        raise ConfigError(f"no benchmark has {only!r} in its name; --list shows all")
    # What was left out keeps the figures that it had.
    before = read_results(results) if len(picked) < len(BENCHMARKS) and results.is_file() else []
    rows: list[Row] = []
    for number, each in enumerate(picked, 1):
        say(f"[{number}/{len(picked)}] {each.name}: {each.how}")
        for row in each.measure(seed, say):
            rows.append(row)
            say(f"  {row.bench}, {row.config}: {row.value:,.2f} {row.figure}")
        write_results(results, renewed(before, rows))  # now, as the next may be interrupted
    if any(row.bench in BENCHES.values() for row in rows):
        path = results.with_name("request-size.svg")
        path.write_text(plot(rows))
        say(f"plot: {path}")
    console.print(table(rows))
