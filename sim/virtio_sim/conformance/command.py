"""``virtio-endpoint conformance``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from cocotbext.virtio.backends.vfio import PATIENCE_S
from cocotbext.virtio.backends.vfio_bench import BACKEND as VFIO
from cocotbext.virtio.conformance import CaseResult, Status
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..build import build_root, locked
from ..config import ConfigError, check_seed
from .backends import execute
from .card_run import CardRun, card_run
from .document import write_document
from .junit import write_junit
from .own_run import OwnRun, own_run
from .page import write_page
from .plan import Run, plan
from .report import Entry, Report, RunResult, counts, with_few_traces

__all__ = ["conformance"]

REPORT = "report.json"
COLOURS = {
    Status.FAILED: "red",
    Status.DEVIATION: "magenta",
    Status.MISSING: "yellow",
    Status.PROVEN: "green",
}


def conformance(
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            "-b",
            help="[bold]model[/], [bold]native[/], [bold]cocotb[/]; [bold]qtest[/] for QEMU's devices, "
            "[bold]vfio[/] for a real card.",
        ),
    ] = "native",
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Of this device alone; of all if not given.")
    ] = None,
    interface: Annotated[
        str, typer.Option("--interface", "-i", help="With these registers alone; with each if not given.")
    ] = "",
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            help="With these rings, as in [bold]packed-indirect-event[/]; can be given several times. "
            "If not given, a choice in which every feature meets every other one.",
        ),
    ] = None,
    bench: Annotated[
        str | None,
        typer.Option(
            "--bench",
            help="Of your own device instead: [bold]package.module:function[/] makes a bench for it; "
            "see docs/your-own.md.",
        ),
    ] = None,
    verilog: Annotated[
        list[Path] | None,
        typer.Option("--verilog", help="Simulate this for the bench; can be given several times."),
    ] = None,
    top: Annotated[str, typer.Option("--top", help="The top module of what is simulated.")] = "",
    card: Annotated[
        str,
        typer.Option(
            "--card", help="PCI address of the card, as in [bold]0000:01:00.0[/]; see docs/vfio.md."
        ),
    ] = "",
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without", help="What the card is known not to do, as in [bold]mixed[/]; several times."
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option("--patience", help="Seconds for which a card is watched that should do nothing."),
    ] = PATIENCE_S,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Nothing on the card's disk is needed any more.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", "-s", help="For everything random; a run repeats.")] = 1,
    document: Annotated[
        bool, typer.Option("--document", help="Run nothing: put the counts of the report into the README.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the runs of earlier calls.")] = False,
) -> None:
    """Run the test list, and account for every requirement of the standard for devices.

    Runs are added to those of earlier calls in build/conformance: report.json, junit.xml, report.html. The
    exit code is 1 if anything failed.
    """
    directory = build_root() / "conformance"
    if document:
        for path in write_document(Report.read(directory / REPORT)):
            typer.echo(f"wrote {path}")
        return
    check_seed(seed)
    if bool(card) != (backend == VFIO) or (card and bench is not None):
        raise ConfigError("--card and --backend vfio belong together, without --bench")
    if without and not card:
        raise ConfigError("--without is for --card")
    runs: Sequence[Run | OwnRun | CardRun]
    if card:
        if device or interface or verilog or top:
            raise ConfigError("a card says itself what it is: --card needs neither device nor Verilog")
        options = {"variants": variant or (), "without": without or (), "patience_s": patience}
        runs = [card_run(card, **options, overwrite=overwrite, seed=seed)]
    elif bench is not None:
        if device or interface:
            raise ConfigError(
                "--device and --interface are not for --bench: what it is, the bench says itself"
            )
        runs = [own_run(bench, verilog or (), top, variants=variant or (), seed=seed)]
    elif verilog or top:
        raise ConfigError("--verilog and --top are for --bench")
    else:
        runs = plan(backend, device=device, interface=interface, variants_named=variant or ())
    if fresh:
        (directory / REPORT).unlink(missing_ok=True)
    console, failed = Console(), []
    for run in runs:
        result = _run(run, seed, console)
        _keep(directory, result)
        failed += [case for case in result.cases if not case.passed]
    report = Report.read(directory / REPORT)
    console.print(_table("requirements", report, report.entries()))
    console.print(_table("duties of drivers, broken on purpose and survived", report, report.duties()))
    for case in failed:
        text = f"{case.case} ({case.driver}): {case.message}"
        console.print(text, style="red", soft_wrap=True, markup=False, highlight=False)
    console.print(f"report: {directory / 'report.html'}", soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)


def _run(run: Run | OwnRun | CardRun, seed: int, console: Console) -> RunResult:
    """One run, with a bar."""
    total = sum(len(run.cases(driver)) for driver in run.drivers())
    results: list[CaseResult] = []
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[failed]}"), console=console) as progress:
        task = progress.add_task(run.name, total=total, failed="")

        def hear(result: CaseResult) -> None:
            results.append(result)
            failed = sum(not each.passed for each in results)
            progress.update(task, advance=1, failed=f"[red]{failed} failed[/]" if failed else "")

        if isinstance(run, Run):
            facts = execute(run, seed=seed, listener=hear)
        else:
            facts = run.execute(seed, hear)
    unseen = run.unseen if isinstance(run, CardRun) else {}
    return RunResult(run.name, run.backend, run.device, facts, with_few_traces(results), unseen)


def _keep(directory: Path, result: RunResult) -> None:
    """Add it to what there is, which other calls may do at the same time."""
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        report = Report.read(directory / REPORT)
        report.add(result)
        report.write(directory / REPORT)
        write_junit(directory / "junit.xml", report.runs.values())
        write_page(directory / "report.html", report)


def _table(title: str, report: Report, entries: Sequence[Entry]) -> Table:
    """How many requirements stand where."""
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("device", no_wrap=True)
    for status in Status:
        made.add_column(status, justify="right", style=COLOURS.get(status, ""))
    for device in sorted({run.device for run in report.runs.values()}):
        found = counts(entry.devices[device][0] for entry in entries)
        made.add_row(device, *map(str, found.values()))
    return made
