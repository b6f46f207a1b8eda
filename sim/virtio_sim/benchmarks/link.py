"""What a PCI Express link allows: the limits that benchmarks are held against.

All figures are bytes on the wire of one direction, after 128b/130b: a TLP is its framing token (4 bytes), its
header, its data and its LCRC (4 bytes).  [PCIe base 5.0 §2.2, §3.6, §4.2.2] Flow control and
acknowledgements, which share the wire with the other direction's TLPs, are not counted: with them a link
reaches a little less.
"""

from dataclasses import dataclass

__all__ = ["Link", "Traffic"]

FRAMING_BYTES = 8
HEADER_BYTES = 12  # of a completion, and of a request for an address below 4 GiB


@dataclass(frozen=True)
class Traffic:
    """Bytes on the wire in each direction."""

    to_host: float = 0.0
    from_host: float = 0.0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.to_host + other.to_host, self.from_host + other.from_host)

    def __mul__(self, times: float) -> "Traffic":
        return Traffic(self.to_host * times, self.from_host * times)


@dataclass(frozen=True)
class Link:
    """A link and the clock that its user counts in.

    Attributes
    ----------
    lanes
        1 to 16.
    gigatransfers
        Per second and lane: 8.0 is Gen3.
    clock_mhz
        Of the endpoint.
    max_payload, max_read_request
        Bytes; as configured.
    """

    lanes: int
    gigatransfers: float = 8.0
    clock_mhz: float = 250.0
    max_payload: int = 256
    max_read_request: int = 512

    @property
    def bytes_per_cycle(self) -> float:
        """Raw rate of one direction, after 128b/130b."""
        return self.lanes * self.gigatransfers * 1000 / self.clock_mhz / 8 * 128 / 130

    def write(self, size: int, *, offset: int = 0) -> Traffic:
        """A memory write of ``size`` bytes from ``offset`` behind a multiple of 4096 on."""
        return Traffic(to_host=size + _parts(size, offset, self.max_payload) * (FRAMING_BYTES + HEADER_BYTES))

    def read(self, size: int, *, offset: int = 0) -> Traffic:
        """A memory read: requests one way, completions as long as a payload may be the other way."""
        overhead = FRAMING_BYTES + HEADER_BYTES
        return Traffic(
            to_host=_parts(size, offset, self.max_read_request) * overhead,
            from_host=size + _parts(size, offset, self.max_payload) * overhead,
        )

    def cycles(self, traffic: Traffic) -> float:
        """Clock cycles that the busier direction needs."""
        return max(traffic.to_host, traffic.from_host) / self.bytes_per_cycle


def _parts(size: int, offset: int, limit: int) -> int:
    """TLPs that ``size`` bytes take if none crosses a multiple of ``limit``, a power of two up to 4096."""
    return (offset % limit + size + limit - 1) // limit
