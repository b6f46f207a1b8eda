"""Block device.  [virtio 1.4 §5.2]"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import Out
from virtio_spec.blk import ID_BYTES, BlkConfig, BlkFeature, BlkReqHeader, BlkStatus
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask
from virtio_spec.wire import size

from .blk_judge import BlkJudge
from .interface import Device, DeviceTable
from .storage import StorageOperation, StorageSignature, write_beat_layout

__all__ = ["BlkDevice"]

HEADER_BYTES = size(BlkReqHeader)


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise a ``ValueError`` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


class BlkDevice(Device):
    """Carry out block requests on a storage, one after another.

    IN, OUT, FLUSH and GET_ID are carried out, any other type ends with UNSUPP. IN and OUT end with
    IOERR, and nothing is stored, if their data is no multiple of 512 bytes or lies beyond the
    capacity, and OUT if the device is read-only. A request of less than 16 readable bytes ends with
    IOERR. The status is the chain's last writable byte, whatever the descriptors; writable bytes that
    carry no data are filled with zeros, so that all of them count as written. A chain without a
    writable byte has no room for a status: it is completed, and nothing else is done. So is a chain
    whose readable bytes could not be read to the end; a write under way is aborted.

    While FLUSH is not accepted, writes are stable when they complete: the device flushes the storage
    after each of them.  [§5.2.6.2]

    Data moves at one beat per cycle. A reset waits for the operation that the storage has begun.

    Parameters
    ----------
    width : :class:`int`
        Of chain streams and storage in bits.
    read_only : :class:`bool`
        Offer RO, and refuse writes.
    block_size : :class:`int`
        ``blk_size``: optimal block in bytes, a power of two from 512 to 32768. Requests are still
        in units of 512 bytes.
    seg_max, size_max : :class:`int`
        Greatest number of data segments in a request, and bytes in one, that a driver should use.
    physical_block_exp, alignment_offset, min_io_size, opt_io_size : :class:`int`
        Topology, in blocks.
    serial : :class:`bytes`
        Answer to GET_ID, up to 20 ASCII characters.

    Members
    -------
    storage : :py:`Out(StorageSignature(width))`
        What is behind the device. A new capacity is told as a configuration change.
    """

    chains: Any
    features: Any
    config: Any
    config_changed: Any
    storage: Any

    def __init__(
        self,
        *,
        width: int,
        read_only: bool = False,
        block_size: int = 512,
        seg_max: int = 126,
        size_max: int = 1 << 20,
        physical_block_exp: int = 0,
        alignment_offset: int = 0,
        min_io_size: int = 1,
        opt_io_size: int = 0,
        serial: bytes = b"",
    ):
        if block_size & (block_size - 1) or not 512 <= block_size <= 32768:
            raise ValueError(f"block_size must be a power of two from 512 to 32768, not {block_size}")
        check_range("seg_max", seg_max, 1, 32768)
        check_range("size_max", size_max, 1, 2**32 - 1)
        check_range("physical_block_exp", physical_block_exp, 0, 255)
        check_range("alignment_offset", alignment_offset, 0, 255)
        check_range("min_io_size", min_io_size, 0, 2**16 - 1)
        check_range("opt_io_size", opt_io_size, 0, 2**32 - 1)
        if len(serial) > ID_BYTES or not serial.isascii():
            raise ValueError(f"serial must be at most {ID_BYTES} ASCII characters, not {serial!r}")
        self.read_only = read_only
        self.block_size = block_size
        self.seg_max = seg_max
        self.size_max = size_max
        self.physical_block_exp = physical_block_exp
        self.alignment_offset = alignment_offset
        self.min_io_size = min_io_size
        self.opt_io_size = opt_io_size
        self.serial = serial
        offered = [
            BlkFeature.SIZE_MAX,
            BlkFeature.SEG_MAX,
            BlkFeature.BLK_SIZE,
            BlkFeature.FLUSH,
            BlkFeature.TOPOLOGY,
        ]
        if read_only:
            offered.append(BlkFeature.RO)
        super().__init__(
            table=DeviceTable(
                device_type=DeviceType.BLOCK,
                class_code=ClassCode.BLOCK,
                features=feature_mask(*offered),
                queues=1,
                config=BlkConfig,
            ),
            width=width,
            backend={"storage": Out(StorageSignature(width))},
        )

    def elaborate(self, platform):  # noqa: D102
        m = Module()
        lanes = self.width // 8
        chain, readable, writable = self.chains.chain, self.chains.readable, self.chains.writable
        reset = self.chains.reset
        storage = self.storage

        # The chain
        token = Signal.like(chain.p.token)
        data_out, data_in = Signal(32), Signal(32)  # bytes but for header and status
        short = Signal()  # no whole header
        no_status = Signal()  # no room for a status
        header: Any = Signal(BlkReqHeader)
        carry = Signal(max(self.width - 8 * HEADER_BYTES, 0))  # data in front of the next beat's
        seen_last = Signal()

        # What is done about it
        m.submodules.judge = judge = BlkJudge(read_only=self.read_only)
        m.d.comb += [
            judge.header.eq(header),
            judge.complete.eq(~short & ~no_status),
            judge.data_out.eq(data_out),
            judge.data_in.eq(data_in),
            judge.capacity.eq(self.config.capacity),
        ]
        verdict = judge.verdict
        status = Signal(8)
        fill = Signal(8 * ID_BYTES)  # what is left of the answer to GET_ID
        left = Signal(32)  # writable bytes in front of the status
        aborted = Signal()
        out_full = storage.write_data.valid
        out_free = ~out_full | storage.write_data.ready

        with m.If(storage.write_data.ready):
            m.d.sync += out_full.eq(0)
        m.d.comb += writable.p.token.eq(token)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += chain.ready.eq(~reset)
                m.d.sync += [
                    token.eq(chain.p.token),
                    data_out.eq(chain.p.readable - HEADER_BYTES),
                    data_in.eq(chain.p.writable - 1),
                    left.eq(chain.p.writable - 1),
                    short.eq(chain.p.readable < HEADER_BYTES),
                    no_status.eq(chain.p.writable == 0),
                    seen_last.eq(chain.p.readable == 0),
                    aborted.eq(0),
                ]
                with m.If(chain.valid & ~reset):
                    m.next = "HEADER"
                    with m.If(chain.p.readable == 0):
                        m.next = "JUDGE"

            with m.State("HEADER"):
                m.d.comb += readable.ready.eq(1)
                second = Signal()  # of the two beats at width 64
                with m.If(readable.valid):
                    m.d.sync += [seen_last.eq(readable.p.last), aborted.eq(readable.p.error)]
                    if self.width < 8 * HEADER_BYTES:
                        m.d.sync += [
                            header.eq(Cat(header.as_value()[self.width :], readable.p.data)),
                            second.eq(~second & ~readable.p.last),
                        ]
                        complete = second
                    else:
                        m.d.sync += Cat(header.as_value(), carry).eq(readable.p.data)
                        complete = Const(1)
                    with m.If(complete | readable.p.last):
                        m.next = "JUDGE"
                with m.If(reset):
                    m.d.sync += second.eq(0)
                    m.next = "IDLE"

            with m.State("JUDGE"):  # the range of sectors takes a cycle
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [
                    status.eq(verdict.status),
                    storage.request.p.operation.eq(verdict.operation),
                    storage.request.p.sector.eq(header.sector),
                    storage.request.p.count.eq(verdict.count),
                    fill.eq(Mux(verdict.identify, int.from_bytes(self.serial, "little"), 0)),
                ]
                with m.If(reset):
                    m.next = "IDLE"
                with m.Elif(aborted):
                    m.next = "GIVE_UP"
                with m.Elif(~seen_last & ~verdict.takes_data):
                    m.next = "SWALLOW"
                with m.Elif(verdict.operate):
                    m.next = "REQUEST"
                with m.Else():
                    m.next = "FILL"
            with m.State("SWALLOW"):
                m.d.comb += readable.ready.eq(1)
                with m.If(readable.valid & readable.p.last):
                    m.d.sync += [seen_last.eq(1), aborted.eq(readable.p.error)]
                    m.next = "DECIDE"
                with m.If(reset):
                    m.next = "IDLE"

            with m.State("REQUEST"):
                m.d.comb += storage.request.valid.eq(1)
                with m.If(storage.request.ready):
                    with m.Switch(storage.request.p.operation):
                        with m.Case(StorageOperation.READ):
                            m.next = "READ"
                        with m.Case(StorageOperation.WRITE):
                            m.next = "WRITE"
                        with m.Default():
                            m.next = "RESPONSE"
            with m.State("READ"):
                m.d.comb += [
                    writable.valid.eq(storage.read_data.valid),
                    writable.p.data.eq(storage.read_data.p.data),
                    writable.p.count.eq(lanes),
                    storage.read_data.ready.eq(writable.ready | reset),
                ]
                with m.If(storage.read_data.valid & storage.read_data.ready):
                    m.d.sync += left.eq(left - lanes)
                    with m.If(storage.read_data.p.error):
                        m.d.sync += status.eq(BlkStatus.IOERR)
                    with m.If(left == lanes):
                        m.next = "RESPONSE"
            with m.State("WRITE"):
                m.d.comb += readable.ready.eq(out_free & ~reset)
                with m.If(out_free & (readable.valid | reset)):
                    beat = Signal(write_beat_layout(self.width))
                    m.d.comb += [
                        beat.data.eq(Cat(carry, readable.p.data)),
                        beat.abort.eq(reset | readable.p.error),
                        beat.last.eq(reset | readable.p.last),
                    ]
                    m.d.sync += [
                        out_full.eq(1),
                        storage.write_data.p.eq(beat),
                        carry.eq(readable.p.data[8 * HEADER_BYTES :]),
                    ]
                    with m.If(beat.last):
                        m.d.sync += aborted.eq(beat.abort)
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += storage.response.ready.eq(1)
                with m.If(storage.response.valid):
                    written = storage.request.p.operation == StorageOperation.WRITE
                    with m.If(storage.response.p.error):
                        m.d.sync += status.eq(BlkStatus.IOERR)
                    with m.If(reset):
                        m.next = "IDLE"
                    with m.Elif(aborted):
                        m.next = "GIVE_UP"
                    with m.Elif(written & ~storage.response.p.error & ~self.features[BlkFeature.FLUSH]):
                        m.d.sync += storage.request.p.operation.eq(StorageOperation.FLUSH)
                        m.next = "REQUEST"
                    with m.Else():
                        m.next = "FILL"

            with m.State("FILL"):
                remaining = Signal(range(lanes + 1))
                m.d.comb += [
                    remaining.eq(Mux(left > lanes, lanes, left)),
                    writable.valid.eq((left != 0) & ~no_status),
                    writable.p.data.eq(fill),
                    writable.p.count.eq(remaining),
                ]
                with m.If(no_status):
                    m.next = "GIVE_UP"
                with m.Elif(left == 0):
                    m.next = "STATUS"
                with m.Elif(writable.ready):
                    m.d.sync += [left.eq(left - remaining), fill.eq(fill >> self.width)]
                with m.If(reset):
                    m.next = "IDLE"
            with m.State("STATUS"):
                m.d.comb += [
                    writable.valid.eq(1),
                    writable.p.data.eq(status),
                    writable.p.count.eq(1),
                    writable.p.last.eq(1),
                ]
                with m.If(writable.ready | reset):
                    m.next = "IDLE"
            with m.State("GIVE_UP"):
                m.d.comb += [writable.valid.eq(1), writable.p.last.eq(1)]
                with m.If(writable.ready | reset):
                    m.next = "IDLE"

        m.d.comb += self.chains.idle.eq(fsm.ongoing("IDLE"))

        config = self.config
        m.d.sync += [
            config.capacity.eq(storage.capacity),
            self.config_changed.eq(config.capacity != storage.capacity),
        ]
        m.d.comb += [
            config.size_max.eq(self.size_max),
            config.seg_max.eq(self.seg_max),
            config.blk_size.eq(self.block_size),
            config.physical_block_exp.eq(self.physical_block_exp),
            config.alignment_offset.eq(self.alignment_offset),
            config.min_io_size.eq(self.min_io_size),
            config.opt_io_size.eq(self.opt_io_size),
        ]
        return m
