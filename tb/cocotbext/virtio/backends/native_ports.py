"""What is behind a native device: a :class:`Disk`, a :class:`Network`, noise, time, a vmmci's host."""

import ctypes

from virtio_models.clock import Clock
from virtio_models.disk import Disk, DiskError
from virtio_models.network import Network
from virtio_spec.blk import SECTOR_BYTES
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

from ..host import HostTimeout
from .native import NativeHost
from .native_device import NativeDevice

__all__ = ["NativeVmmci", "serve_disk", "serve_network", "show_clock"]

_READ, _WRITE, _FLUSH, _DISCARD, _, _WRITE_ZEROES_UNMAP = range(6)


def serve_disk(device: NativeDevice, disk: Disk) -> None:
    """Put ``disk`` behind the storage port; an operation that fails on it ends in an error."""

    def serve(operation: int, sector: int, count: int, address: int) -> bool:
        size = count * SECTOR_BYTES
        try:
            if operation == _READ:
                ctypes.memmove(address, disk.read(sector, count), size)
            elif operation == _WRITE:
                disk.write(sector, ctypes.string_at(address, size))
            elif operation == _FLUSH:
                disk.flush()
            elif operation == _DISCARD:
                disk.discard(sector, count)
            else:
                disk.write_zeroes(sector, count, unmap=operation == _WRITE_ZEROES_UNMAP)
        except DiskError:
            return False
        return True

    def resized(sectors: int) -> None:
        device.storage(serve, sectors)

    resized(disk.capacity)
    disk.listeners.append(resized)


def serve_network(device: NativeDevice, network: Network) -> None:
    """Put ``network`` behind the MAC."""

    def arrive() -> tuple[bytes, bool, bool] | None:
        frame = network.take()
        return None if frame is None else (frame.data, frame.error, frame.checked)

    def changed() -> None:
        device.cable(network.link_up, network.speed)

    device.network(network.put, arrive)
    network.listeners.append(changed)
    changed()


def show_clock(device: NativeDevice, clock: Clock) -> None:
    """Let the clock of a vmmci show ``clock``; add it to :attr:`.Host.clocks` to let it run."""

    def changed() -> None:
        device.clock(*clock.now())

    changed()
    clock.listeners.append(changed)


class NativeVmmci:
    """The host's side of a vmmci.

    Attributes
    ----------
    events
        What the guest made of it, in order: the event, and the command that it is about.
    """

    def __init__(self, host: NativeHost):
        self.events: list[tuple[VmmciEvent, VmmciCommand]] = []
        self._host = host
        host.lookers.append(self._look)

    def _look(self) -> None:
        for kind, command in self._host.device.events():
            self.events.append((VmmciEvent(kind), VmmciCommand(command)))

    async def request(self, command: int) -> VmmciAnswer:
        """Ask for a command, of two bits; what the device says to that."""
        with self._host.passing():
            answer = self._host.device.command(command)
        if answer < 0:
            raise HostTimeout(f"no answer to the command {command}")
        return VmmciAnswer(answer)
