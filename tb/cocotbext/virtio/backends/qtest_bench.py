"""A bench around a virtio device of QEMU's."""

import socket

from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.network import Network
from virtio_spec.blk import SECTOR_BYTES
from virtio_spec.virtio_pci import Interface

from ..suite import Bench
from ..variant import PLAIN, RingVariant
from .qtest import QtestHost
from .qtest_behind import serve_cable, serve_disk, serve_noise
from .qtest_machine import Machine, Program
from .qtest_pump import Pump

__all__ = ["ALL_RINGS", "qtest_bench"]

SECTORS = 64
#: Largest sizes of the queues that cases for all device types use; of blk as asked for.
QUEUE_SIZES = {"rng": 8, "blk": 64, "net": 64}
#: What the device is asked to be, beside its interface and its backend.
ALL_RINGS = "packed=on,in_order=on,event_idx=on,indirect_desc=on,queue_reset=on"
INTERFACES = {
    Interface.MODERN: "disable-legacy=on,disable-modern=off",
    Interface.TRANSITIONAL: "disable-legacy=off,disable-modern=off",
    Interface.LEGACY: "disable-legacy=off,disable-modern=on",
}


def qtest_bench(
    name: str,
    program: Program,
    *,
    seed: int,
    read_only: bool = False,
    queues: int = 1,
    interface: Interface = Interface.MODERN,
    transport: str | None = None,
    habit: str = "natural",
    variant: RingVariant = PLAIN,
) -> tuple[Bench, QtestHost]:
    """A bench for ``virtio-{name}-pci``, and its host, which has to be closed.

    The device offers all that QEMU has for rings, and the driver uses ``variant`` of it.
    """
    pump = Pump()
    disk, entropy, network = Disk(SECTORS), EntropySource(seed), Network()
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    if name == "rng":
        serve_noise(pump, ours, entropy)
        behind = ["-chardev", f"socket,id=noise,fd={number}", "-object", "rng-egd,id=noise,chardev=noise"]
        options = ["rng=noise"]
    elif name == "blk":
        serve_disk(pump, ours, disk, read_only=read_only)
        mode = f"discard=unmap,read-only={'on' if read_only else 'off'}"
        behind = ["-blockdev", f"driver=nbd,node-name=nbd,server.type=fd,server.str={number},{mode}"]
        # A filter that can be resized above a node that cannot; all else passes through.
        behind += [
            "-blockdev",
            f"driver={'raw' if read_only else 'preallocate'},node-name=disk,file=nbd,{mode}",
        ]
        options = ["drive=disk", f"num-queues={queues}", f"queue-size={QUEUE_SIZES[name]}"]
        options += ["serial=virtio", "rerror=report", "werror=report"]
    else:
        serve_cable(pump, ours, network)
        behind = ["-netdev", f"stream,id=cable,server=off,addr.type=fd,addr.str={number}"]
        options = ["netdev=cable", "romfile=", "host_mtu=1500"]
    words = [f"virtio-{name}-pci", "bus=below", INTERFACES[interface], ALL_RINGS, *options]
    machine = Machine(program, pump, [*behind, "-device", ",".join(words)], [theirs])

    def resize(sectors: int) -> None:
        machine.qmp.command("block_resize", **{"node-name": "disk", "size": SECTOR_BYTES * sectors})

    def link() -> None:
        if network.link_up != up[0]:
            up[0] = network.link_up
            machine.qmp.command("set_link", name="cable", up=network.link_up)

    up = [True]
    if name == "blk" and not read_only:
        resize(SECTORS)
        disk.listeners.append(resize)
    if name == "net":
        network.listeners.append(link)
    host = QtestHost(machine, pump, seed=seed)
    bench = Bench(
        host=host,
        device=name,
        backend="qtest",
        queue_size=QUEUE_SIZES[name],
        disk=disk,
        entropy=entropy,
        network=network,
        interface=interface,
        transport=transport or ("modern" if interface.has_modern else "legacy"),
        habit=habit,
        read_only=read_only,
        queues=queues,
        variant=variant,
        seed=seed,
    )
    return bench, host
