"""``python -m virtio_sim.guest.model KIND INTERFACE SOCKET [IMAGE]``: the reference model for a guest.

Serves until SIGTERM. What the guest flushed is in the image at once.
"""

import signal
import sys
from pathlib import Path
from typing import Any

from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.dma import Dma
from virtio_models.entropy import EntropySource
from virtio_models.options import RingOptions
from virtio_models.rng import Rng
from virtio_spec.blk import SECTOR_BYTES
from virtio_spec.virtio_pci import Interface

from ..cosim.model import ModelFunction
from ..cosim.server import Server

__all__ = ["ImageDisk", "main"]


class ImageDisk(Disk):
    """A disk whose flushed content is in a file."""

    def __init__(self, path: Path):
        super().__init__(path.read_bytes())
        self._file = path.open("r+b")

    def flush(self) -> None:
        """Write what changed, then forget it."""
        changed = sorted(self.unflushed)
        super().flush()
        for sector in changed:
            self._file.seek(sector * SECTOR_BYTES)
            self._file.write(self.data[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES])
        self._file.flush()


def main(kind: str, interface: str, socket: str, image: str | None = None) -> None:
    """Serve one device at ``socket``."""
    made = Blk(ImageDisk(Path(image))) if image is not None else Rng(EntropySource(1))
    if (kind == "blk") != (image is not None):
        raise SystemExit(f"{kind} with image {image}")

    def device(dma: Dma) -> ReferenceDevice:
        return ReferenceDevice(made, dma, interface=Interface(interface), rings=RingOptions(packed=False))

    function: Any = ModelFunction(device)
    with Server(function, socket, report=lambda said: print(said, flush=True)) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
