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

__all__ = ["serve"]


def serve(
    configuration: Configuration,
    socket: Path,
    *,
    image: Path | None = None,
    link: LinkModel,
    waves: Path | None = None,
    report: Callable[[str], None],
) -> None:
    """Build, listen, and serve one client after the other until SIGINT or SIGTERM.

    ``image`` is the disk of a block device, written in place unless the device is read-only.
    """
    if (configuration.device == "blk") != (image is not None):
        raise ConfigError(
            "blk needs an image" if image is None else f"an image is for blk, not {configuration.device}"
        )
    with ExitStack() as stack:
        disk = None
        if image is not None:
            try:
                disk = stack.enter_context(ImageFile(image, read_only=configuration.read_only))
            except PermissionError:
                raise ConfigError(f"the image {image} cannot be written; serve it with --read-only") from None
        report(f"building {configuration.name}")
        library = native_library(generate(configuration), configuration, waves=waves is not None)
        endpoint = stack.enter_context(NativeEndpoint(library, link=link))
        if disk is not None:
            endpoint.storage(disk.serve, disk.sectors)
        if waves is not None:
            endpoint.waves(waves)
        server = stack.enter_context(Server(NativeFunction(endpoint), socket, report=report))

        def end(number: int, frame: FrameType | None) -> None:
            server.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        report(f"attach it with\n\n{command_line(Path(server.path))}\n")
        server.serve()
