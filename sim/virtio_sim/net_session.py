"""A driver of the network device and a small host at the other end of the cable."""

from collections import deque
from collections.abc import Callable

from cocotbext.virtio.devices.net import HEADER_BYTES, VirtioNet, offloaded
from cocotbext.virtio.suite import Bench
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

__all__ = ["echo"]

GUEST_IP, HOST_IP = "10.0.0.2", "10.0.0.1"
HOST = "02:56:00:00:00:fe"
ALL = "ff:ff:ff:ff:ff:ff"
ECHO = 7  # the port at which datagrams come back
AT_ONCE = 4  # datagrams under way
MOST = 1472  # octets in one
ROOM = HEADER_BYTES + 1514


def answers(frame: bytes) -> list[bytes]:
    """What the host sends for a frame: its address to who asks, and datagrams to its echo port back."""
    packet = Ether(frame)
    back = Ether(dst=packet.src, src=HOST)
    if ARP in packet and packet[ARP].pdst == HOST_IP:
        asked = packet[ARP]
        return [bytes(back / ARP(op=2, hwsrc=HOST, psrc=HOST_IP, hwdst=asked.hwsrc, pdst=asked.psrc))]
    if UDP in packet and packet[IP].dst == HOST_IP and packet[UDP].dport == ECHO and _is_right(frame):
        content = packet[UDP].payload
        return [
            bytes(back / IP(src=HOST_IP, dst=GUEST_IP) / UDP(sport=ECHO, dport=packet[UDP].sport) / content)
        ]
    return []


def _is_right(frame: bytes) -> bool:
    """Whether the checksum of the datagram in it is what scapy makes of it."""
    again = Ether(frame)
    found = again[UDP].chksum
    del again[UDP].chksum
    return Ether(bytes(again))[UDP].chksum == found


async def echo(bench: Bench, total: int, progress: Callable[[int], None]) -> tuple[int, int]:
    """Send ``total`` octets in datagrams whose checksum is left to the device; how many, and their octets.

    ``AssertionError`` if not all come back as they were sent.
    """
    bench.network.respond = answers
    front = VirtioNet(await bench.start())
    own = (await front.address()).hex(":")
    await front.post(*[ROOM] * AT_ONCE)
    await front.send(Ether(dst=ALL, src=own) / ARP(hwsrc=own, psrc=GUEST_IP, pdst=HOST_IP))
    peer = (await front.receive()).packet[ARP].hwsrc
    await front.post(ROOM)

    done, datagrams = 0, 0
    under_way: deque[bytes] = deque()
    left = total
    while left or under_way:
        while left and len(under_way) < AT_ONCE:
            content = bench.rng.randbytes(min(left, bench.rng.randint(1, MOST)))
            packet = (
                Ether(dst=peer, src=own)
                / IP(src=GUEST_IP, dst=HOST_IP)
                / UDP(sport=4000, dport=ECHO)
                / content
            )
            frame, start, offset = offloaded(packet)
            await front.send(frame, checksum=(start, offset))
            under_way.append(content)
            left -= len(content)
            datagrams += 1
        found = (await front.receive()).packet
        expected = under_way.popleft()
        assert found[UDP].load == expected, "a datagram does not come back as it was sent"
        await front.post(ROOM)
        done += len(expected)
        progress(done)
    return datagrams, done
