"""``virtio-endpoint mutation``."""

import os
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..build import build_root
from ..config import ConfigError, check_seed
from .netlist import netlist
from .planted.bug import Bug, bugs
from .planted.finding import finding
from .report import GOAL, Design, Planted, table, write_report
from .trials import Trials, build

__all__ = ["mutation"]

#: Designs whose netlist gets mutants.
DESIGNS = ("rng", "blk")
#: More than anybody looks at, and than a selector in a netlist should choose from.
MOST_MUTANTS = 5_000
MUTANTS = 500


def mutation(
    listed: Annotated[
        bool, typer.Option("--list", help="List the planted bugs, and do nothing else.")
    ] = False,
    bug: Annotated[
        list[str] | None,
        typer.Option("--bug", help="This planted bug alone, and no netlists; can be given several times."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="Mutants of the netlist of [bold]rng[/] or [bold]blk[/] alone."),
    ] = None,
    mutants: Annotated[
        int, typer.Option(help="How many, of each netlist; 0 for planted bugs alone.")
    ] = MUTANTS,
    mutant: Annotated[
        list[int] | None,
        typer.Option("--mutant", help="Of these only the one with this number; can be given several times."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", "-s", help="Which mutants.")] = 1,
    every_driver: Annotated[
        bool,
        typer.Option("--every-driver", help="Try a case with all drivers, not with one; takes hours."),
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Simulations at a time.")] = os.cpu_count() or 1,
) -> None:
    """See whether the test list sees bugs: planted ones in the reference device, and mutants of the gateware.

    Mutants are bits of the netlist that are inverted, or constant. The test list runs on each until a case
    fails; what nothing fails for is listed with its line of the source.

    Ends with a table, and build/mutation/report.json; the exit code is 1 if a planted bug was not found, or
    fewer than 95 % of a design's mutants.
    """
    check_seed(seed)
    _check(device, mutants, mutant or (), jobs)
    console = Console(highlight=False, soft_wrap=True)
    chosen = _chosen(bug)
    if listed:
        for each in chosen:
            traps = f" (trap {', '.join(map(str, each.traps))})" if each.traps else ""
            console.print(f"[bold]{each.name}[/]: {each.what}{traps}")
        return
    planted = [] if mutant else _plant(chosen, console)
    designs: list[Design] = []
    for name in () if bug or not mutants else DESIGNS if device is None else (device,):
        designs.append(_attack(name, mutants, mutant or (), seed, jobs, every_driver, console))
    write_report(build_root() / "mutation" / "report.json", planted, designs)
    console.print(table(planted, designs))
    for result in planted:
        if result.where is None:
            console.print(
                f"planted, not found: {result.bug.name}: {result.bug.what}", style="red", markup=False
            )
    for design in designs:
        for left in design.survivors:
            how = (
                f"reached by {design.reached[left.number]}"
                if design.reached[left.number]
                else "never reached"
            )
            console.print(f"{design.name}, number {left.number}, {how}: {left}", markup=False)
    if any(result.where is None for result in planted) or any(design.percent < GOAL for design in designs):
        raise typer.Exit(1)


def _check(device: str | None, mutants: int, numbers: Sequence[int], jobs: int) -> None:
    if device is not None and device not in DESIGNS:
        raise ConfigError(f"mutants are of {' or '.join(DESIGNS)}, not of {device}")
    if not 0 <= mutants <= MOST_MUTANTS:
        raise ConfigError(f"the number of mutants has to be from 0 to {MOST_MUTANTS}, not {mutants}")
    if numbers and device is None:
        raise ConfigError("the number of a mutant is that of one device")
    if wrong := [number for number in numbers if not 1 <= number <= mutants]:
        raise ConfigError(f"mutants have numbers from 1 to {mutants}, not {wrong[0]}")
    if jobs < 1:
        raise ConfigError(f"there has to be at least 1 job, not {jobs}")


def _chosen(names: Sequence[str] | None) -> list[Bug]:
    known = bugs()
    for name in names or ():
        if name not in known:
            raise ConfigError(f"there is no planted bug {name!r}; --list shows them")
    return [known[name] for name in names] if names else list(known.values())


def _plant(chosen: Sequence[Bug], console: Console) -> list[Planted]:
    """Each bug with the cases that are to see it, until one does."""
    results = []
    with _progress(console) as progress:
        task = progress.add_task("planted bugs", total=len(chosen))
        for each in chosen:
            found = ((where, finding(each, where)) for where in each.seen)
            where, message = next(((where, said) for where, said in found if said), (None, ""))
            results.append(Planted(each, where, message))
            if len(chosen) < len(bugs()) and where:
                console.print(f"{each.name}: {where.device}, {where.case}: {message}", markup=False)
            progress.advance(task)
    return results


def _attack(
    name: str,
    count: int,
    numbers: Sequence[int],
    seed: int,
    jobs: int,
    every_driver: bool,
    console: Console,
) -> Design:
    """One design: mutants, a run of all cases without, and the mutants."""
    run = Trials.run_of(name)
    design = Design(run.configuration.name, seed)
    with _progress(console) as progress:
        task = progress.add_task(f"{design.name}: build", total=1)
        started = time.monotonic()
        made = netlist(run.configuration, count=count, seed=seed)
        trials = Trials(build(run, made), run, made.mutants, jobs, every_driver)
        progress.advance(task)
        design.build_s, started = time.monotonic() - started, time.monotonic()

        design.trials = len(trials.all())
        task = progress.add_task(f"{design.name}: all cases", total=design.trials)
        clean = trials.clean(lambda more: progress.advance(task, more))
        for trial, found in clean.items():
            design.reached.update(found.reached)
            if found.message:
                design.useless[str(trial)] = found.message
                console.print(f"fails without a mutant: {trial}: {found.message}", style="red", markup=False)
        design.clean_s, started = time.monotonic() - started, time.monotonic()

        chosen = [mutant for mutant in made.mutants if not numbers or mutant.number in numbers]
        task = progress.add_task(f"{design.name}: mutants", total=len(chosen))
        for mutant, kill in trials.attack(chosen, clean):
            design.found[mutant] = kill
            if numbers:
                said = f"{kill.trial}: {kill.message}" if kill else "nothing finds it"
                console.print(f"number {mutant.number}: {mutant}: {said}", markup=False)
            progress.advance(task)
        design.attack_s = time.monotonic() - started
    return design


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
