"""The command that synthesises."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..build import build_root
from ..config import check_seed
from ..hdl import generate
from .families import ECP5, FAMILIES
from .flow import Flow, check_kept
from .modules import by_module, module_table
from .report import Row, row, sentences, table, write_report
from .targets import PEERS, Target, chosen
from .tools import NEXTPNR, YOSYS, check_tools

__all__ = ["synth"]


def synth(
    config: Annotated[
        list[str] | None,
        typer.Option("--config", "-c", help="Of this configuration alone, such as rng-64; repeatable."),
    ] = None,
    modules: Annotated[
        bool, typer.Option("--by-module", help="Show which submodule takes how much, instead.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", "-s", help="Of place and route.")] = 1,
) -> None:
    """Synthesise for three FPGA families, and place and route for one: area and clock. It takes minutes.

    Ends with a table, and the same in build/synth/report.json. A goal that is missed is red, and no failure.
    """
    check_seed(seed)
    targets = chosen(config or [])
    console = Console(highlight=False, soft_wrap=True)
    root = build_root() / "synth"
    cache = root / "cache"
    with _Steps(console, _steps(len(targets), modules)) as steps:
        done = steps.begin("tools")
        check_tools(YOSYS, NEXTPNR, cache=cache)
        done()
        flows = []
        for target in targets:
            name = target.configuration.name
            done = steps.begin(f"{name}: Verilog")
            flows.append((target, Flow(name, generate(target.configuration), root, cache, seed, steps.begin)))
            done()
        found = _all(flows, _netlists if modules else _measurements)
    if modules:
        for (target, _), (cells, apart) in zip(flows, found, strict=True):
            console.print(module_table(target.configuration.name, by_module(cells, apart)))
        return
    rows = [
        line for (target, _), figures in zip(flows, found, strict=True) for line in _rows(target, figures)
    ]
    write_report(root / "report.json", rows)
    console.print(table(rows, PEERS))
    for sentence in sentences(rows):
        console.print(sentence, markup=False)


def _steps(targets: int, modules: bool) -> int:
    """The tools; and for each target the Verilog, what is synthesised, and what is placed."""
    return 1 + targets * (3 if modules else 1 + len(FAMILIES) + 2)


def _netlists(flow: Flow) -> list[Callable[[], Any]]:
    return [flow.netlist, flow.apart]


def _measurements(flow: Flow) -> list[Callable[[], Any]]:
    """The longest first."""
    return [flow.clock, *(lambda family=family: flow.area(family) for family in FAMILIES)]


def _all(
    flows: list[tuple[Target, Flow]], work: Callable[[Flow], list[Callable[[], Any]]]
) -> list[list[Any]]:
    """Do the work of all flows on all cores; what it came to, by flow."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting: list[list[Future[Any]]] = [[pool.submit(job) for job in work(flow)] for _, flow in flows]
        try:
            return [[future.result() for future in futures] for futures in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _rows(target: Target, figures: list[Any]) -> list[Row]:
    (wrapped, timing), *areas = figures
    by_family = dict(zip((family.name for family in FAMILIES), areas, strict=True))
    check_kept(target.configuration.name, by_family[ECP5.name], wrapped)
    return [
        row(target, family, area, timing if family == ECP5.name else None)
        for family, area in by_family.items()
    ]


class _Steps:
    """Live progress: a bar of all steps, and a line for each that ended."""

    def __init__(self, console: Console, total: int):
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._console = console
        self._progress = Progress(*columns, console=console, transient=True)
        self._bar = self._progress.add_task("synthesis", total=total)

    def __enter__(self) -> "_Steps":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str) -> Callable[[], None]:
        """A :data:`.flow.Watcher`."""
        started = time.monotonic()

        def done() -> None:
            self._console.print(f"{name}: {time.monotonic() - started:.0f} s")
            self._progress.advance(self._bar)

        return done
