import threading
from contextlib import contextmanager

import pytest
from helpers.vfio_user_client import GuestMemory, VfioUserClient
from helpers.vfio_user_guest import BASE, RngGuest
from virtio_models.device import ReferenceDevice
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng
from virtio_sim.cosim.model import ModelFunction
from virtio_sim.cosim.server import Server


class Recorded(ModelFunction):
    """An entropy device that remembers what the server did to it."""

    def __init__(self, **options):
        self.entropy = EntropySource(1)
        self.calls, self.buffers = [], []
        super().__init__(lambda dma: ReferenceDevice(Rng(self.entropy), dma, **options))

    def reset(self):
        self.calls.append("reset")
        super().reset()

    def map(self, address, buffer, flags):
        self.calls.append(("map", address, len(buffer), flags))
        self.buffers.append(buffer)
        super().map(address, buffer, flags)

    def unmap(self, address, size):
        self.calls.append(("unmap", address, size))
        super().unmap(address, size)


class Running:
    """A server in a thread of its own."""

    def __init__(self, path, function, options):
        self.function, self.path, self.lines = function, path, []
        self.changed = threading.Condition()
        self.failure = None
        self.server = Server(function, path, report=self._report, **options)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _report(self, line):
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def _run(self):
        try:
            self.server.serve()
        except Exception as error:
            self.failure = error

    def connect(self):
        return VfioUserClient(self.path)

    def wait_for(self, text, timeout=10.0):
        """The first line with ``text``, but for the one that names the socket."""
        with self.changed:
            found = self.changed.wait_for(lambda: [x for x in self.lines[1:] if text in x], timeout)
        assert found, f"{text!r} is not in {self.lines}"
        return found[0]

    def stop(self):
        self.server.stop()
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server hangs"
        self.server.close()


@pytest.fixture
def serve(tmp_path):
    """``with serve(function, **options) as running``."""

    @contextmanager
    def start(function=None, **options):
        running = Running(tmp_path / "s", function or Recorded(), options)
        try:
            yield running
        finally:
            running.stop()
        assert running.failure is None, running.failure

    return start


@pytest.fixture
def attached(serve):
    """``with attached(function, **options) as (running, client, guest)``: a guest with mapped memory."""

    @contextmanager
    def start(function=None, **options):
        with serve(function, **options) as running, running.connect() as client:
            client.version()
            with GuestMemory(RngGuest.memory_size()) as memory:
                client.dma_map(BASE, memory.size, memory.fd)
                guest = RngGuest(client, memory)
                guest.enumerate()
                yield running, client, guest

    return start
