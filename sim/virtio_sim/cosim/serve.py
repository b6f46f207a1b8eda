"""Serve the compiled endpoint until told to end: what ``virtio-endpoint cosim`` does."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from ..build import native_library
from ..config import ConfigError, Configuration
from ..hdl import generate
from ..native.library import LinkModel, NativeEndpoint
from .image import ImageFile
from .native import NativeFunction
from .qemu import command_line
from .server import Server
from .wire import Wire

__all__ = ["serve"]

SPEED = 10_000  # Mbit/s of a wire


def serve(
    configuration: Configuration,
    socket: Path,
    *,
    image: Path | None = None,
    wire: Path | None = None,
    link: LinkModel,
    waves: Path | None = None,
    report: Callable[[str], None],
) -> None:
    """Build, listen, and serve one client after the other until SIGINT or SIGTERM.

    ``image`` is the disk of a block device, written in place unless the device is read-only. ``wire`` is
    where a network device finds the other end of its cable, see :class:`~.wire.Wire`; without, there is none.
    """
    if (configuration.device == "blk") != (image is not None):
        raise ConfigError(
            "blk needs an image" if image is None else f"an image is for blk, not {configuration.device}"
        )
    if wire is not None and configuration.device != "net":
        raise ConfigError(f"a wire is for net, not {configuration.device}")
    with ExitStack() as stack:
        disk = cable = None
        if image is not None:
            try:
                disk = stack.enter_context(ImageFile(image, read_only=configuration.read_only))
            except PermissionError:
                raise ConfigError(f"the image {image} cannot be written; serve it with --read-only") from None
        if wire is not None:
            cable = stack.enter_context(Wire(wire, report=report))
        report(f"building {configuration.name}")
        library = native_library(generate(configuration), configuration, waves=waves is not None)
        endpoint = stack.enter_context(NativeEndpoint(library, link=link))
        if disk is not None:
            endpoint.storage(disk.serve, disk.sectors)
        if waves is not None:
            endpoint.waves(waves)
        clears = configuration.virtqueues * configuration.queue_size
        function = NativeFunction(endpoint, clears=clears)
        server = stack.enter_context(Server(function, socket, report=report))
        if cable is not None:
            _plug_in(cable, endpoint)
            server.watch(cable, cable.look)

        def end(number: int, frame: FrameType | None) -> None:
            server.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        report(f"attach it with\n\n{command_line(Path(server.path))}\n")
        server.serve()


def _plug_in(wire: Wire, endpoint: NativeEndpoint) -> None:
    def arrive() -> tuple[bytes, bool, bool] | None:
        frame = wire.take()
        return None if frame is None else (frame, False, False)

    def changed() -> None:
        endpoint.cable(wire.link_up, SPEED)

    endpoint.network(wire.put, arrive)
    wire.changed = changed
    changed()
