"""The command ``virtio-endpoint``."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .benchmarks.agreement import Disagreement
from .benchmarks.command import bench
from .benchmarks.guests import BootFailed
from .benchmarks.report import NoResults
from .build import BuildError, build_root, lint
from .config import DEVICES, INTERFACES, WIDTHS, ConfigError, Configuration, check_image, check_seed
from .conformance.backends import DeviceUnknown
from .conformance.command import conformance
from .cosim.listener import SocketInUse
from .cosim.serve import serve
from .fuzz.command import fuzz
from .guest.artifacts import ArtifactError
from .guest.command import guest
from .hdl import generate
from .job import Job
from .mutation.command import mutation
from .native.library import LinkModel
from .report import TestResult, table, write_report
from .synth.command import synth
from .synth.tools import SynthesisError
from .transcript import transcript

__all__ = ["main"]

NAME = "virtio-endpoint"
#: What typer raises for wrong options; which library it takes that from depends on its version.
UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="An open virtio PCI Express endpoint for FPGAs, and what verifies it.",
    epilog=f"Everything generated goes to ./build. Start with: [bold]{NAME} sim[/]",
)

Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        "-d",
        help="[bold]rng[/], [bold]blk[/], [bold]net[/] or [bold]vmmci[/]; all of them if not given.",
    ),
]
Width = Annotated[int, typer.Option("--width", "-w", help="Data path in bits: 64, 128 or 256.")]
QueueSize = Annotated[
    int, typer.Option(help="Largest size of the virtqueues: a power of two from 2 to 1024.")
]
Tags = Annotated[int, typer.Option(help="Data reads outstanding on the link, 1 to 204.")]
Queues = Annotated[
    int, typer.Option(help="Request queues of blk, 1 to 256, or pairs of queues of net, 1 to 127.")
]
RegisterInterface = Annotated[
    str,
    typer.Option(
        "--interface",
        "-i",
        help="Registers of rng and blk: modern (the default), transitional or legacy; net is modern, "
        "vmmci legacy.",
    ),
]

#: Which devices a parameter is about; the others go without it unless they were named.
CONCERNED = {
    "interface": ("rng", "blk"),
    "queue_size": ("rng", "blk", "net"),
    "tags": ("rng", "blk", "net"),
    "queues": ("blk", "net"),
    "ram_sectors": ("blk",),
}

#: At every width as they are by default; at one with the other interfaces, and with what several pairs add.
LINTED = [
    *(Configuration(device, width) for device in DEVICES for width in WIDTHS),
    *(
        Configuration(device, interface=interface)
        for device, interfaces in INTERFACES.items()
        for interface in interfaces[1:]
    ),
    Configuration("net", queues=4),
]


def _configurations(device: str | None, *, width: int, **parameters: Any) -> list[Configuration]:
    """One configuration, or one of each device with the parameters that concern it."""
    if device is not None:
        return [Configuration(device, width, **parameters)]
    return [
        Configuration(
            name, width, **{key: value for key, value in parameters.items() if name in CONCERNED[key]}
        )
        for name in DEVICES
    ]


@app.command()
def sim(
    device: Device = None,
    width: Width = 128,
    seed: Annotated[int, typer.Option("--seed", "-s", help="For everything random; a run repeats.")] = 1,
    image: Annotated[
        Path | None,
        typer.Option(help="FAT image to send through virtio-blk; it is copied and never changed."),
    ] = None,
    waves: Annotated[bool, typer.Option("--waves", help="Record all signals into a VCD file.")] = False,
    queue_size: QueueSize = 128,
    tags: Tags = 32,
    queues: Queues = 1,
    interface: RegisterInterface = "",
) -> None:
    """Simulate the endpoint below a PCI Express root complex, doing real work.

    [bold]rng[/]: 64 KiB of entropy, compared with what the noise source gave.

    [bold]blk[/]: a FAT file system image is read whole, a file is written into it, the disk is flushed;
    then the image is opened outside of the simulation, and every file compared.

    [bold]net[/]: 64 KiB in datagrams to a host at the other end of the cable, which sends them back.

    [bold]vmmci[/]: a guest finds it, compares its clock with the host's, and is told to set it and to reboot.

    Ends with a table, and the same in build/sim/report.json; the exit code is 1 if anything failed.
    """
    configurations = _configurations(
        device, width=width, queue_size=queue_size, tags=tags, queues=queues, interface=interface
    )
    content = None
    if image is not None:
        if device not in (None, "blk"):
            raise ConfigError(f"an image is for blk, and {device} alone was asked for")
        content = check_image(image)
    check_seed(seed)
    console = Console()
    results: list[TestResult] = []
    for configuration in configurations:
        job = Job(
            configuration, seed=seed, image=content if configuration.device == "blk" else None, waves=waves
        )
        with _Bars(console) as bars:
            found, outcome = job.run(bars.show)
        results += found
        if outcome is None:
            continue
        for piece in transcript(outcome.events):
            console.print(piece, highlight=False)
        if any(result.status != "passed" for result in found):
            console.print(f"log: {outcome.log}\nagain: {outcome.replay}", soft_wrap=True, highlight=False)
        if waves:
            console.print(f"waves: {outcome.directory / 'dump.vcd'}", soft_wrap=True, highlight=False)
    path = build_root() / "sim" / "report.json"
    write_report(path, results)
    console.print(table(results))
    for result in results:
        if result.message:
            console.print(f"{result.name}: {result.message}", style="red", soft_wrap=True, markup=False)
    if any(result.status != "passed" for result in results):
        raise typer.Exit(1)


@app.command()
def hdl(
    device: Device = None,
    width: Width = 128,
    queue_size: QueueSize = 128,
    tags: Tags = 32,
    queues: Queues = 1,
    ram_sectors: Annotated[
        int,
        typer.Option(help="Put a block-RAM disk of so many sectors into blk, instead of the storage port."),
    ] = 0,
    interface: RegisterInterface = "",
) -> None:
    """Write Verilog into build/hdl, one file with the top module virtio_endpoint per device, and lint it."""
    configurations = _configurations(
        device,
        width=width,
        queue_size=queue_size,
        tags=tags,
        queues=queues,
        ram_sectors=ram_sectors,
        interface=interface,
    )
    if not all([_write_and_lint(configuration) for configuration in configurations]):
        raise typer.Exit(1)


@app.command()
def cosim(
    device: Annotated[
        str,
        typer.Option("--device", "-d", help="[bold]rng[/], [bold]blk[/], [bold]net[/] or [bold]vmmci[/]."),
    ],
    socket: Annotated[
        Path | None, typer.Option(help="Where the socket is to stand; by default in build/cosim.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Disk of blk: a raw image, which the guest writes in place.")
    ] = None,
    wire: Annotated[
        Path | None,
        typer.Option(
            help="Cable of net: a socket at which another one waits, or will come, or QEMU's -netdev stream."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Only read the image.")] = False,
    width: Width = 128,
    interface: RegisterInterface = "",
    queue_size: QueueSize = 128,
    tags: Tags = 32,
    queues: Queues = 1,
    packed: Annotated[bool, typer.Option(help="Offer packed rings beside split ones.")] = True,
    seed: Annotated[int, typer.Option("--seed", "-s", help="For everything random on the link.")] = 1,
    waves: Annotated[bool, typer.Option("--waves", help="Record all signals into a VCD file.")] = False,
) -> None:
    """Put the gateware into a virtual machine: serve it at a vfio-user socket until Ctrl-C.

    Prints the QEMU command line (QEMU 10.1 or newer) that attaches it to a guest of yours. One guest at a
    time; when it goes away, the device is reset and waits for the next.
    """
    configuration = Configuration(
        device,
        width,
        interface=interface,
        queue_size=queue_size,
        tags=tags,
        queues=queues,
        packed=packed,
        read_only=read_only,
    )
    if image is not None:
        check_image(image)
    check_seed(seed)
    directory = build_root() / "cosim"
    directory.mkdir(parents=True, exist_ok=True)
    serve(
        configuration,
        socket or directory / f"{device}.sock",
        image=image,
        wire=wire,
        link=LinkModel(seed=seed),
        waves=directory / f"{device}.vcd" if waves else None,
        report=lambda said: print(said, flush=True),
    )


app.command()(guest)
app.command()(conformance)
app.command()(bench)
app.command()(fuzz)
app.command()(synth)
app.command()(mutation)


@app.command(name="lint")
def lint_all(
    device: Annotated[str | None, typer.Option("--device", "-d", help="Of this device alone.")] = None,
    interface: Annotated[str, typer.Option("--interface", "-i", help="Of this interface alone.")] = "",
) -> None:
    """Write and lint the Verilog of all devices at all widths, and of their other kinds at one."""
    configurations = [
        configuration
        for configuration in LINTED
        if device in (None, configuration.device) and interface in ("", configuration.interface)
    ]
    if not configurations:
        raise ConfigError("there is no such device with such an interface")
    if not all([_write_and_lint(configuration) for configuration in configurations]):
        raise typer.Exit(1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def test(context: typer.Context) -> None:
    """Run the tests of a checkout with pytest; all options are pytest's."""
    if not Path("tests").is_dir():
        raise ConfigError("there is no directory tests here; run this in a checkout")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "pytest", *context.args], check=False).returncode)


class _Bars:
    """Live progress, one bar per phase."""

    def __init__(self, console: Console):
        columns = (TextColumn("{task.description:<24}"), BarColumn(), TextColumn("{task.fields[text]:>20}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_others("")
        self._progress.stop()

    def show(self, phase: str, done: int, total: int) -> None:
        """A :data:`.job.Listener`."""
        if phase not in self._tasks:
            self._finish_others(phase)
            self._tasks[phase] = self._progress.add_task(phase, total=total or None, text="")
        text = f"{done / 1024:,.0f} KiB" if done else ""
        self._progress.update(self._tasks[phase], completed=done, text=text)

    def _finish_others(self, phase: str) -> None:
        for other, task in self._tasks.items():
            if other != phase and not self._progress.tasks[task].finished:
                size = self._progress.tasks[task].total or 1
                self._progress.update(task, total=size, completed=size)


def _write_and_lint(configuration: Configuration) -> bool:
    """Write the Verilog; whether it is clean."""
    path = build_root() / "hdl" / f"{configuration.name}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(generate(configuration))
    complaints = lint(path)
    typer.echo(f"{path}: {'clean' if not complaints else 'not clean'}")
    if complaints:
        typer.echo(complaints, err=True)
    return not complaints


def main() -> None:
    """Entry point; a wrong parameter is one sentence and exit code 2."""
    try:
        code = app(prog_name=NAME, standalone_mode=False)
    except (ConfigError, SocketInUse, NoResults) as error:
        typer.echo(f"{NAME}: {error}", err=True)
        sys.exit(2)
    except (BuildError, DeviceUnknown, ArtifactError, BootFailed, Disagreement, SynthesisError) as error:
        typer.echo(f"{NAME}: {error}", err=True)
        sys.exit(1)
    except UsageError as error:
        if message := error.format_message():
            typer.echo(f"{NAME}: {message}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
