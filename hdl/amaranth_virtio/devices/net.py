"""Network device.  [virtio 1.4 §5.1]"""

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out, connect, flipped
from amaranth.utils import bits_for, exact_log2
from virtio_spec.net import DUPLEX_FULL, NetConfig, NetFeature
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask
from virtio_spec.virtio_pci import Interface

from ..rings.parameters import check_quota
from .interface import Device, DeviceTable
from .mac import MacSignature
from .net_addresses import AddressTable
from .net_buffer import ReceiveBuffer
from .net_chains import ChainSorter
from .net_completion import NetCompletion
from .net_control import NetControl
from .net_filter import ReceiveFilter
from .net_layout import FLOW, TAGGED_HEADER_BYTES
from .net_lists import ChainLists
from .net_planner import ReceivePlanner
from .net_reader import FrameReader
from .net_sender import FrameSender
from .net_store import SentStore
from .net_writer import FrameWriter

__all__ = ["NetDevice"]

FLOWS = 1 << FLOW.width


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise a ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


class NetDevice(Device):
    """Frames between a driver and a MAC.

    **Queues** are those of the standard: receive and transmit of each pair, then control, which is number 2
    for a driver without MQ.  [§5.1.2] All pairs share the two buffers and are served in the order in which
    frames come.

    **Sending.** A frame's chain is completed when its bytes were read, before the frame is sent. Checksums
    are completed on request if CSUM was accepted; where one would lie outside, where the chain could not
    be read, and where the frame is longer than a tagged Ethernet header and the MTU, the frame is dropped.
    [§5.1.6.2]

    **Receiving.** Before DRIVER_OK, and what does not find room in the buffer, is dropped; what passes the
    filter goes to the pair on which its flow was last sent, or the first one.  [§5.1.6.5.5] Flows are told
    apart by a hash of 8 bits; see :class:`~.net_flow.FlowHash`. See :class:`~.net_planner.ReceivePlanner`
    for frames that find no chain. DATA_VALID is set if the MAC has checked the frame and GUEST_CSUM was
    accepted.

    A frame of 64 bytes takes 4 cycles to send and 5 to receive at 256 bits, or as many beats as frame and
    header have, and one, if that is more.

    Parameters
    ----------
    width : :class:`int`
        Of chain streams and MAC in bits.
    pairs : :class:`int`
        Pairs of queues, 1 to 127; more than one are offered as MQ.
    mac : :class:`bytes`
        Six octets, not a group address.
    mtu : :class:`int`
        68 to 65535.  [§5.1.4.1: 1280 or more SHOULD be]
    quota : :class:`int`
        Chains of a queue that are here at a time, a power of two; the lower bits of a token are the number of
        the chain, the upper ones that of the queue, as in :func:`..rings.layout.token_of`.
    receive_bytes, transmit_bytes : :class:`int`
        Buffers, powers of two of at least 2048, for at least two of the longest frames.
    patience : :class:`int`
        Cycles that a frame without a chain may hold up others.

    Members
    -------
    mac_port : :py:`Out(MacSignature(width))`
        A change of link or speed is told as a configuration change. The speed counts that is there when the
        link comes up.
    """

    chains: Any
    features: Any
    driver_ok: Any
    config: Any
    config_changed: Any
    mac_port: Any

    def __init__(
        self,
        *,
        width: int,
        pairs: int = 1,
        mac: bytes = bytes.fromhex("025600000001"),
        mtu: int = 1500,
        quota: int = 16,
        receive_bytes: int = 8192,
        transmit_bytes: int = 4096,
        patience: int = 1024,
    ):
        check_range("pairs", pairs, 1, 127)
        check_range("mtu", mtu, 68, 65535)
        check_range("patience", patience, 1, 1 << 20)
        check_quota(quota, 2 * pairs + 1)
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError(f"mac must be 6 octets and not a group address, not {mac.hex(':')}")
        for name, size in (("receive_bytes", receive_bytes), ("transmit_bytes", transmit_bytes)):
            if size & (size - 1) or size < max(2048, 2 * (mtu + TAGGED_HEADER_BYTES)):
                raise ValueError(
                    f"{name} must be a power of two of at least 2048, and two frames, not {size}"
                )
        self.pairs = pairs
        self.mac = mac
        self.mtu = mtu
        self.quota = quota
        self.receive_bytes = receive_bytes
        self.transmit_bytes = transmit_bytes
        self.patience = patience
        offered = [
            NetFeature.CSUM,
            NetFeature.GUEST_CSUM,
            NetFeature.MTU,
            NetFeature.MAC,
            NetFeature.MRG_RXBUF,
            NetFeature.STATUS,
            NetFeature.CTRL_VQ,
            NetFeature.CTRL_RX,
            NetFeature.CTRL_MAC_ADDR,
            NetFeature.SPEED_DUPLEX,
        ]
        if pairs > 1:
            offered.append(NetFeature.MQ)
        super().__init__(
            table=DeviceTable(
                device_type=DeviceType.NET,
                class_code=ClassCode.NET,
                features=feature_mask(*offered),
                requires={
                    NetFeature.CTRL_RX: (NetFeature.CTRL_VQ,),
                    NetFeature.CTRL_MAC_ADDR: (NetFeature.CTRL_VQ,),
                    NetFeature.MQ: (NetFeature.CTRL_VQ,),
                },
                queues=2 * pairs + 1,
                config=NetConfig,
                interfaces=(Interface.MODERN,),
            ),
            width=width,
            backend={"mac_port": Out(MacSignature(width))},
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        chains, reset = self.chains, self.chains.reset
        width, mtu, pairs, quota = self.width, self.mtu, self.pairs, self.quota
        shape: dict[str, Any] = {"width": width, "mtu": mtu}
        control_queue, retire, retire_pair = self._queues(m)

        def part(name: str, made: Any) -> Any:
            """Add a part whose reset is that of the chains."""
            m.submodules[name] = ResetInserter(reset)(made)
            return made

        sorter = part("sorter", ChainSorter(**shape, pairs=pairs, quota=quota))
        completion = part("completion", NetCompletion(width=width))
        control = part("control", NetControl(width=width, pairs=pairs, mac=self.mac))
        m.submodules.lists = lists = ChainLists(pairs=pairs, quota=quota, mtu=mtu)
        connect(m, flipped(chains.chain), sorter.chain)
        connect(m, flipped(chains.readable), sorter.readable)
        connect(m, sorter.command, control.i)
        connect(m, control.o, sorter.answer)
        connect(m, sorter.completed, completion.completed)
        connect(m, completion.writable, flipped(chains.writable))
        m.d.comb += [
            sorter.control_queue.eq(control_queue),
            control.features.eq(self.features),
            lists.put.eq(sorter.put),
            lists.put_pair.eq(sorter.put_pair),
            lists.chain.eq(sorter.waiting),
        ]

        # To the network.
        flows = pairs > 1
        store = part("store", SentStore(**shape, size=self.transmit_bytes, flows=flows))
        m.submodules.sender = sender = FrameSender(**shape, size=self.transmit_bytes)
        connect(m, sorter.frame, store.readable)
        connect(m, store.frame, sender.frame)
        connect(m, sender.transmit, flipped(self.mac_port.transmit))
        m.d.comb += [
            store.csum.eq(self.features[NetFeature.CSUM]),
            store.hurry.eq(chains.retire),
            store.address.eq(sender.address),
            store.enable.eq(sender.enable),
            sender.data.eq(store.data),
            sender.reset.eq(reset),
        ]

        # From the network.
        buffer = part("buffer", ReceiveBuffer(**shape, size=self.receive_bytes, flows=flows))
        filter_ = part("filter", ReceiveFilter(**shape, pairs=pairs))
        addresses = part("addresses", AddressTable())
        planner = part("planner", ReceivePlanner(**shape, pairs=pairs, quota=quota, patience=self.patience))
        reader = part("reader", FrameReader(**shape, size=self.receive_bytes, quota=quota))
        writer = part("writer", FrameWriter(**shape))
        connect(m, flipped(self.mac_port.receive), buffer.receive)
        connect(m, buffer.frame, filter_.frame)
        connect(m, filter_.o, planner.frame)
        connect(m, lists.port, planner.lists)
        connect(m, planner.job, reader.job)
        connect(m, planner.part, writer.part)
        connect(m, reader.o, writer.i)
        connect(m, writer.o, completion.frame)
        m.d.comb += [
            buffer.accept.eq(self.driver_ok),
            buffer.address.eq(reader.address),
            buffer.enable.eq(reader.enable),
            reader.data.eq(buffer.data),
            reader.hold.eq(completion.hold),
            reader.data_valid.eq(self.features[NetFeature.GUEST_CSUM]),
            filter_.settings.all.eq(~self.features[NetFeature.CTRL_RX] | control.promiscuous),
            filter_.settings.all_groups.eq(control.all_multicast),
            filter_.settings.own.eq(control.mac),
            addresses.address.eq(filter_.address),
            addresses.step.eq(filter_.step),
            filter_.hit.eq(addresses.hit),
            planner.behind.eq(buffer.frame.valid),
            planner.mergeable.eq(self.features[NetFeature.MRG_RXBUF]),
            planner.active.eq(control.active),
            planner.retire.eq(retire),
            planner.retire_pair.eq(retire_pair),
            planner.put.eq(sorter.put),
            planner.put_pair.eq(sorter.put_pair),
        ]
        for name in ("write", "group", "index", "entry", "swap", "individuals", "groups"):
            m.d.comb += getattr(addresses, name).eq(getattr(control, name))

        # A reset goes through all memory that is not forgotten with a pointer to it.
        sweep = Signal(range(FLOWS + 1))
        swept = sweep[-1]
        m.d.sync += sweep.eq(Mux(reset, sweep + ~swept, 0))
        m.d.comb += [
            lists.clear.eq(reset),
            lists.clear_pair.eq(sweep),
            self.chains.idle.eq(swept & sender.idle),
        ]
        if flows:
            self._steer(m, store, buffer, filter_, reset, sweep)
        self._configure(m, control)
        return m

    def _queues(self, m: Module) -> tuple[Any, Any, Any]:
        """The number of the control queue, whether a receive queue is being reset, and which."""
        control_queue = Signal(bits_for(2 * self.pairs))
        retire, retire_pair = Signal(), Signal(bits_for(self.pairs))
        queue = self.chains.retire_queue
        m.d.comb += control_queue.eq(Mux(self.features[NetFeature.MQ], 2 * self.pairs, 2))
        m.d.sync += [
            retire.eq(self.chains.retire & ~queue[0] & (queue != control_queue)),
            retire_pair.eq(queue[1:]),
        ]
        return control_queue, retire, retire_pair

    def _steer(self, m: Module, store: Any, buffer: Any, filter_: Any, reset: Any, sweep: Any) -> None:
        """Remember the pair on which each flow was sent."""
        number = bits_for(self.pairs - 1)
        m.submodules.flows = flows = Memory(shape=number, depth=FLOWS, init=[])
        put, get = flows.write_port(), flows.read_port()
        connect(m, buffer.flow, filter_.flow)
        pair = store.token[exact_log2(self.quota) + 1 :]
        m.d.comb += [
            put.addr.eq(Mux(reset, sweep, store.flow.payload)),
            put.data.eq(Mux(reset, 0, pair)),
            put.en.eq(reset | store.flow.valid),
            get.addr.eq(buffer.flow.payload),
            filter_.known.eq(get.data),
        ]

    def _configure(self, m: Module, control: Any) -> None:
        """The device configuration."""
        config, port = self.config, self.mac_port
        speed = Signal(32)
        m.d.comb += speed.eq(Mux(config.status[0], config.speed, port.speed))
        m.d.sync += [
            config.status.eq(port.link_up),
            config.speed.eq(speed),
            self.config_changed.eq((config.status[0] != port.link_up) | (config.speed != speed)),
        ]
        m.d.comb += [
            config.mac.eq(control.mac),
            config.max_virtqueue_pairs.eq(self.pairs),
            config.mtu.eq(self.mtu),
            config.duplex.eq(DUPLEX_FULL),
        ]
