"""What is built and run: checked once, here, so that a wrong value is one clear sentence."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from virtio_spec.blk import SECTOR_BYTES

__all__ = ["DEVICES", "WIDTHS", "ConfigError", "Configuration", "check_image", "check_seed"]

DEVICES = ("rng", "blk")
WIDTHS = (64, 128, 256)
QUEUE_SIZES = tuple(1 << n for n in range(1, 11))
MOST_TAGS = 249
MOST_RAM_SECTORS = 65536  # 32 MiB, more than any FPGA has
MOST_QUEUES = 256


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
        Request queues of the block device.
    ram_sectors
        Size of a block-RAM disk inside the endpoint, in sectors; with 0 the block device has a storage port.
    """

    device: str
    width: int = 128
    queue_size: int = 128
    tags: int = 32
    completion_timeout: int = 12_500_000
    read_only: bool = False
    queues: int = 1
    ram_sectors: int = 0

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(f"there is no device {self.device!r}; choose one of {', '.join(DEVICES)}")
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
        if not 1 <= self.queues <= MOST_QUEUES:
            raise ConfigError(f"the number of queues has to be from 1 to {MOST_QUEUES}, not {self.queues}")
        if self.queues > 1 and self.device != "blk":
            raise ConfigError(f"only blk can have several queues, not {self.device}")
        if not 0 <= self.ram_sectors <= MOST_RAM_SECTORS:
            raise ConfigError(
                f"a disk in block RAM has up to {MOST_RAM_SECTORS} sectors, not {self.ram_sectors}"
            )
        if self.ram_sectors and self.device != "blk":
            raise ConfigError(f"only blk can have a disk in block RAM, not {self.device}")

    @property
    def name(self) -> str:
        """Short and unique: the device, the width, and whatever is not the default."""
        parts = [self.device, str(self.width)]
        default = Configuration(self.device)
        if self.queue_size != default.queue_size:
            parts.append(f"q{self.queue_size}")
        if self.tags != default.tags:
            parts.append(f"t{self.tags}")
        if self.completion_timeout != default.completion_timeout:
            parts.append(f"c{self.completion_timeout}")
        if self.read_only:
            parts.append("ro")
        if self.queues != default.queues:
            parts.append(f"{self.queues}queues")
        if self.ram_sectors != default.ram_sectors:
            parts.append(f"ram{self.ram_sectors}")
        return "-".join(parts)

    @property
    def profile(self) -> str:
        """The part of the test list that is for it."""
        if self.read_only:
            return "read_only"
        return "queues" if self.queues > 1 else "default"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


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
