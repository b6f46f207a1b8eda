"""What is built and run: checked once, here, so that a wrong value is one clear sentence."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from virtio_spec.blk import SECTOR_BYTES
from virtio_spec.virtio_pci import Interface

__all__ = [
    "DEVICES",
    "INTERFACES",
    "WIDTHS",
    "ConfigError",
    "Configuration",
    "check_image",
    "check_seed",
    "impatient",
]

#: Device types, with the register interfaces that each can have; the first is the default.
INTERFACES = {
    "rng": tuple(Interface),
    "blk": tuple(Interface),
    "net": (Interface.MODERN,),
    "vmmci": (Interface.LEGACY,),
}
DEVICES = tuple(INTERFACES)
WIDTHS = (64, 128, 256)
QUEUE_SIZES = tuple(1 << n for n in range(1, 11))
CHAINS = tuple(1 << n for n in range(1, 9))
MOST_TAGS = 204
MOST_RAM_SECTORS = 65536  # 32 MiB, more than any FPGA has
MOST_QUEUES = 256
MOST_PAIRS = 127
#: Of the engine: chains in flight per queue, and of all queues.
QUOTA, TOKENS = 16, 4096
#: What the network device would like: as many short frames as come in the time of four reads of 1 us, but no
#: more than there can be in a queue; and always enough for a long frame in many small buffers.
NET_LEAST, NET_MOST = 128, 256


#: Cycles; see :func:`impatient`.
SHORT = 5_000


class ConfigError(Exception):
    """A parameter is wrong; the message is for the user."""


@dataclass(frozen=True)
class Configuration:
    """One endpoint.

    Attributes
    ----------
    device
        Device type.
    width
        Data path in bits.
    queue_size
        Largest size of each virtqueue.
    tags
        Read requests for data that the endpoint can have outstanding.
    completion_timeout
        Cycles after which the endpoint gives up a read; by default 50 ms at 250 MHz.
    read_only
        Whether the block device offers VIRTIO_BLK_F_RO.
    queues
        Request queues of the block device, or pairs of queues of the network device.
    chains
        Descriptor chains in flight per queue, a power of two from 2 to 256; by default 16, and of the network
        device as many as it can have.
    packed
        Whether packed rings are offered beside split ones.
    ram_sectors
        Size of a block-RAM disk inside the endpoint, in sectors; with 0 the block device has a storage port.
    interface
        Register interfaces, an :class:`virtio_spec.virtio_pci.Interface`; by default modern, or what the
        device has.
    config_hold
        Cycles for which a value of the device configuration that was read in part stays; by default 1 s.
    ack_timeout, shutdown_timeout
        Cycles that vmmci waits for an acknowledgement, and then for the guest; by default 3 s and 120 s.
    """

    device: str
    width: int = 128
    queue_size: int = 128
    tags: int = 32
    completion_timeout: int = 12_500_000
    read_only: bool = False
    queues: int = 1
    chains: int = 0
    packed: bool = True
    ram_sectors: int = 0
    interface: str = ""
    config_hold: int = 250_000_000
    ack_timeout: int = 750_000_000
    shutdown_timeout: int = 30_000_000_000

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(f"there is no device {self.device!r}; choose one of {', '.join(DEVICES)}")
        self._check_interface()
        if self.width not in WIDTHS:
            raise ConfigError(f"the width has to be 64, 128 or 256 bits, not {self.width}")
        if self.queue_size not in QUEUE_SIZES:
            low, high = QUEUE_SIZES[0], QUEUE_SIZES[-1]
            raise ConfigError(
                f"the queue size has to be a power of two from {low} to {high}, not {self.queue_size}"
            )
        if not 1 <= self.tags <= MOST_TAGS:
            raise ConfigError(f"the number of tags has to be from 1 to {MOST_TAGS}, not {self.tags}")
        if self.completion_timeout < 1:
            raise ConfigError(
                f"the completion time-out has to be at least 1 cycle, not {self.completion_timeout}"
            )
        if self.read_only and self.device != "blk":
            raise ConfigError(f"only blk can be read-only, not {self.device}")
        self._check_queues()
        if not 0 <= self.ram_sectors <= MOST_RAM_SECTORS:
            raise ConfigError(
                f"a disk in block RAM has up to {MOST_RAM_SECTORS} sectors, not {self.ram_sectors}"
            )
        if self.ram_sectors and self.device != "blk":
            raise ConfigError(f"only blk can have a disk in block RAM, not {self.device}")
        self._check_vmmci()

    def _check_interface(self) -> None:
        """Resolve the default, which depends on the device."""
        choices = INTERFACES[self.device]
        interface = self.interface or choices[0]
        if interface not in tuple(Interface):
            raise ConfigError(f"there is no interface {interface!r}; choose one of {', '.join(Interface)}")
        if interface not in choices:
            raise ConfigError(f"{self.device} can only be {' or '.join(choices)}, not {interface}")
        object.__setattr__(self, "interface", str(interface))  # the way to do it in a frozen dataclass
        if self.config_hold < 1:
            raise ConfigError(f"the configuration hold has to be at least 1 cycle, not {self.config_hold}")

    def _check_queues(self) -> None:
        """How many there are, which for net is how many pairs."""
        most, what = (MOST_PAIRS, "pairs of queues") if self.device == "net" else (MOST_QUEUES, "queues")
        if not 1 <= self.queues <= most:
            raise ConfigError(f"the number of {what} has to be from 1 to {most}, not {self.queues}")
        if self.queues > 1 and self.device not in ("blk", "net"):
            raise ConfigError(f"only blk and net can have several queues, not {self.device}")

        if self.chains and self.chains not in CHAINS:
            low, high = CHAINS[0], CHAINS[-1]
            raise ConfigError(
                f"the chains in flight have to be a power of two from {low} to {high}, not {self.chains}"
            )

    def _check_vmmci(self) -> None:
        """What vmmci alone has, and what it alone has not."""
        for name, what in (("ack_timeout", "acknowledgement"), ("shutdown_timeout", "shutdown")):
            cycles = getattr(self, name)
            if cycles < 1:
                raise ConfigError(f"the {what} time-out has to be at least 1 cycle, not {cycles}")
            if self.device != "vmmci" and cycles != DEFAULTS[name]:
                raise ConfigError(f"only vmmci has a time-out for the {what}, not {self.device}")
        for name, what in (
            ("queue_size", "queue size"),
            ("tags", "tags"),
            ("completion_timeout", "reads"),
            ("chains", "chains"),
        ):
            if self.device == "vmmci" and getattr(self, name) != DEFAULTS[name]:
                raise ConfigError(f"vmmci has no virtqueues, and so no {what}")

    @property
    def name(self) -> str:
        """Short and unique: the device, the width, and whatever is not the default."""
        parts = [self.device, str(self.width)]
        if self.interface != INTERFACES[self.device][0]:
            parts.append(self.interface)
        for name, text in NAME_PARTS.items():
            if (value := getattr(self, name)) != DEFAULTS[name]:
                parts.append(text.format(value))
        return "-".join(parts)

    @property
    def virtqueues(self) -> int:
        """How many the device has: for net two of each pair, and the control queue."""
        return 2 * self.queues + 1 if self.device == "net" else self.queues

    @property
    def quota(self) -> int:
        """Descriptor chains in flight per queue."""
        if self.chains:
            return self.chains
        if self.device != "net":
            return QUOTA
        room = TOKENS // self.virtqueues
        return min(max(NET_LEAST, self.queue_size), NET_MOST, 1 << room.bit_length() - 1)

    @property
    def profile(self) -> str:
        """The part of the test list that is for it."""
        if self.read_only:
            return "read_only"
        return "queues" if self.queues > 1 else "default"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


DEFAULTS = {field.name: field.default for field in fields(Configuration)}
#: How a value that is not the default shows in the name.
NAME_PARTS = {
    "queue_size": "q{}",
    "tags": "t{}",
    "completion_timeout": "c{}",
    "read_only": "ro",
    "queues": "{}queues",
    "chains": "{}chains",
    "packed": "split",
    "ram_sectors": "ram{}",
    "config_hold": "h{}",
    "ack_timeout": "a{}",
    "shutdown_timeout": "s{}",
}


def impatient(configuration: Configuration) -> Configuration:
    """The same with short time-outs: far beyond what a simulated host takes, but short enough to wait for."""
    times = {"config_hold": SHORT}
    if configuration.device == "vmmci":
        times |= {"ack_timeout": SHORT, "shutdown_timeout": 2 * SHORT}
    else:
        times["completion_timeout"] = SHORT
    return replace(configuration, **times)


def check_image(path: Path) -> bytes:
    """Content of a disk image; :class:`ConfigError` if it is none."""
    if not path.is_file():
        raise ConfigError(f"there is no image {path}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the image {path} cannot be read: {error.strerror}") from None
    if not content or len(content) % SECTOR_BYTES:
        raise ConfigError(f"{path} has {len(content)} bytes, which is not a multiple of {SECTOR_BYTES}")
    return content


def check_seed(seed: int) -> int:
    """The seed; :class:`ConfigError` unless it is a natural number."""
    if not 0 <= seed < 1 << 31:
        raise ConfigError(f"the seed has to be from 0 to {(1 << 31) - 1}, not {seed}")
    return seed
