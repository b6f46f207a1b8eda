"""The command that fuzzes."""

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..build import build_root, native_library
from ..config import ConfigError, Configuration, check_seed, impatient
from ..hdl import generate
from .benches import Bring, model, native, on
from .campaign import Campaign, command_of
from .sequences import sequences as try_sequences

__all__ = ["fuzz", "configurations"]

BACKENDS = ("native", "model")
#: If no device is named: a block device with several queues, and the smallest one.
USUAL = {"blk": 128, "rng": 64}
QUEUES = 4


def configurations(device: str | None, *, width: int | None, queues: int | None) -> list[Configuration]:
    """What is fuzzed: one device, or all that have queues."""
    if device is not None and device not in USUAL:
        raise ConfigError(f"what is fuzzed is {' or '.join(USUAL)}, not {device}")
    return [
        impatient(
            Configuration(name, width or USUAL[name], queues=(queues or QUEUES) if name == "blk" else 1)
        )
        for name in ([device] if device else USUAL)
    ]


def fuzz(
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="[bold]rng[/] or [bold]blk[/].")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many, for each device.")] = 200,
    seed: Annotated[int, typer.Option("--seed", "-s", help="The first one.")] = 1,
    steps: Annotated[str, typer.Option(help="Numbers of the steps to be kept, of one seed.")] = "",
    width: Annotated[int | None, typer.Option("--width", "-w", help="Data path in bits.")] = None,
    queues: Annotated[int | None, typer.Option(help="Request queues of blk, by default 4.")] = None,
    backend: Annotated[str, typer.Option(help="[bold]native[/] or [bold]model[/].")] = "native",
    sequences: Annotated[int, typer.Option(help="Sequences of a driver's actions instead of seeds.")] = 0,
) -> None:
    """Give random bad input to the device: malformed rings, wrong, late and missing completions.

    Or, with --sequences, do in any order what a driver can do, in lockstep with the reference model: resets,
    negotiation, queues, requests, masks, power states. The shortest sequence that fails is shown.

    Each seed is a driver, a link and a few steps, of which some are right and some are not. The device has to
    go on or to say that it needs a reset, as the standard has it; what was right has to be answered right;
    and after a reset all has to work.

    Ends with a table, and the same in build/fuzz/report.json; the exit code is 1 if anything failed.
    """
    check_seed(seed)
    if seeds < 1:
        raise ConfigError(f"the number of seeds has to be at least 1, not {seeds}")
    if backend not in BACKENDS:
        raise ConfigError(f"there is no backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    chosen = _numbers(steps)
    if chosen and (seeds != 1 or device is None):
        raise ConfigError("steps are those of one seed, on one device")
    if sequences < 0:
        raise ConfigError(f"the number of sequences has to be at least 1, not {sequences}")
    console = Console(highlight=False, soft_wrap=True)
    chosen_configurations = configurations(device, width=width, queues=queues)
    if sequences:
        if any([_sequences(each, backend, seed, sequences, console) for each in chosen_configurations]):
            raise typer.Exit(1)
        return
    campaigns = []
    for configuration in chosen_configurations:
        bring = _bring(configuration, backend)
        campaign = Campaign(configuration, backend, on(bring))
        campaigns.append(campaign)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(f"{configuration.name} on {backend}", total=seeds)
            for number in range(seed, seed + seeds):
                found = campaign.one(number, chosen or None)
                for failure in found:
                    what = failure.detail if seeds == 1 else failure.message
                    console.print(f"{failure.plan}\n{what}\nagain: {failure.replay}", markup=False)
                progress.advance(task)
    Campaign.write(build_root() / "fuzz" / "report.json", campaigns)
    for campaign in campaigns:
        console.print(_table(campaign))
    if any(campaign.failures for campaign in campaigns):
        raise typer.Exit(1)


def _bring(configuration: Configuration, backend: str) -> Bring:
    if backend == "model":
        return model(configuration)
    return native(native_library(generate(configuration), configuration), configuration)


def _sequences(configuration: Configuration, backend: str, seed: int, count: int, console: Console) -> bool:
    """Whether one of so many failed."""
    made = _bring(configuration, backend)
    failure = try_sequences(model(configuration), made, seed=seed, count=count)
    told = f"{configuration.name} on {backend}: {count} sequences, {'1 failed' if failure else 'all passed'}"
    console.print(told, markup=False)
    if failure is not None:
        console.print(f"{failure.detail}{failure}", markup=False)
        again = command_of(configuration, backend, seed).replace("SEEDS=1", f"SEQUENCES={count}")
        console.print(f"again: {again}", markup=False)
    return failure is not None


def _numbers(steps: str) -> list[int]:
    try:
        return [int(number) for number in steps.split(",")] if steps else []
    except ValueError:
        raise ConfigError(f"steps are numbers with commas between them, not {steps!r}") from None


def _table(campaign: Campaign) -> Table:
    made = Table(
        title=f"{campaign.configuration.name} on {campaign.backend}: {campaign.seeds} seeds, "
        f"{len(campaign.failures)} failed, {campaign.answered} valid requests answered",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
    )
    made.add_column("oddity")
    for title in ("went on", "needed a reset"):
        made.add_column(title, justify="right")
    for name, found in sorted(campaign.oddities.items()):
        made.add_row(name.replace("_", " "), str(found["went on"]), str(found["needed a reset"]))
    return made
