"""The command that boots stock Linux guests with virtio devices, and reports."""

from typing import Annotated

import typer
from rich.console import Console

from ..build import build_root
from ..config import ConfigError, check_seed
from .artifacts import KERNELS, artifacts
from .checks import ROWS
from .devices import Provider, QemuProvider, model_provider, rtl_provider
from .report import table, write_report
from .run import Rig, rows_of

__all__ = ["guest"]

#: Whose devices there are.
PROVIDERS = {"rtl": rtl_provider, "qemu": QemuProvider, "model": model_provider}
DEFAULT_KERNELS = ("6.1", "6.12")


def guest(
    kernel: Annotated[
        list[str] | None,
        typer.Option("--kernel", "-k", help=f"Debian's cloud kernels: {', '.join(KERNELS)}."),
    ] = None,
    provider: Annotated[
        str, typer.Option("--provider", "-p", help=f"Whose: {', '.join(PROVIDERS)}.")
    ] = "rtl",
    row: Annotated[
        str, typer.Option("--row", "-r", help="Only rows with all these words in their name.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", "-s", help="For the contents of disks.")] = 1,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask Debian's archive for newer versions.")
    ] = False,
    rows: Annotated[bool, typer.Option("--list", help="List the rows, boot nothing.")] = False,
) -> None:
    """Boot Debian's own kernels under QEMU, whose own drivers drive virtio devices, and check what they do.

    What is needed comes from Debian's archive through this host's apt, into build/guest/cache (or
    VIRTIO_CACHE). Ends with a table, and the same in build/guest/report.json; the exit code is 1 if
    anything failed.
    """
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    if rows:
        for each in ROWS:
            say(each.name)
        return
    if provider not in PROVIDERS:
        raise ConfigError(f"there is no provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    if unknown := set(kernel or ()).difference(KERNELS):
        raise ConfigError(f"there is no kernel {min(unknown)!r}; choose of {', '.join(KERNELS)}")
    made: Provider = PROVIDERS[provider]()
    chosen = rows_of(made, row)
    if not chosen:
        raise ConfigError(f"no row of {provider} has {row!r} in its name; --list shows all")
    check_seed(seed)
    python = any(each.device.iommu for each in chosen)
    parts = artifacts(kernel or DEFAULT_KERNELS, python=python, refresh=refresh, say=say)
    results = Rig(parts, made, build_root() / "guest", seed=seed, say=say).run(chosen)
    path = build_root() / "guest" / "report.json"
    kernels = {name: entry.release for name, entry in parts.kernels.items()}
    write_report(path, results, versions=parts.versions, kernels=kernels)
    console.print(table(results))
    for result in results:
        if result.message:
            where = f"{result.kernel} {result.device}, {result.check}"
            console.print(f"{where}: {result.message}", style="red", markup=False)
    if any(result.status != "passed" for result in results):
        raise typer.Exit(1)
