"""Which conversation a frame belongs to."""

__all__ = ["flow_of"]

VLAN, IPV4, IPV6 = 0x8100, 0x0800, 0x86DD
TCP, UDP = 6, 17


def flow_of(frame: bytes) -> object:
    """A value that is the same for both directions of a conversation, and for nothing else.

    The two ends are address and port with TCP and UDP over IPv4 and IPv6, addresses alone with what else IP
    carries, and the Ethernet addresses with the rest.
    """
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    if kind == VLAN:
        kind, at = int.from_bytes(frame[16:18], "big"), 18
    if kind == IPV4 and len(frame) >= at + 20:
        protocol, start, length = frame[at + 9], at + 12, 4
        behind = at + 4 * (frame[at] & 15)
    elif kind == IPV6 and len(frame) >= at + 40:
        protocol, start, length = frame[at + 6], at + 8, 16
        behind = at + 40
    else:
        return kind, frozenset((frame[:6], frame[6:12]))
    ends = [frame[start + n * length : start + (n + 1) * length] for n in range(2)]
    if protocol in (TCP, UDP) and len(frame) >= behind + 4:
        ends = [end + frame[behind + 2 * n : behind + 2 * n + 2] for n, end in enumerate(ends)]
    return protocol, frozenset(ends)
