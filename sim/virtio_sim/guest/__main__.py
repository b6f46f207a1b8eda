"""``python -m virtio_sim.guest``; see :mod:`virtio_sim.guest.command`."""

import typer

from .command import guest

if __name__ == "__main__":
    typer.run(guest)
