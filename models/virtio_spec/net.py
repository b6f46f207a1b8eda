"""Network device.  [virtio 1.4 §5.1]"""

import enum

from amaranth.lib import data

__all__ = [
    "ACK_ERR",
    "ACK_OK",
    "DUPLEX_FULL",
    "SPEED_UNKNOWN",
    "CtrlClass",
    "CtrlHeader",
    "CtrlMac",
    "CtrlMq",
    "CtrlRx",
    "NetConfig",
    "NetFeature",
    "NetGso",
    "NetHdrFlag",
    "NetHeader",
    "NetStatus",
]

ACK_OK, ACK_ERR = 0, 1
SPEED_UNKNOWN = 0xFFFF_FFFF
DUPLEX_FULL = 1


class NetFeature(enum.IntEnum):
    """Feature bit numbers, as far as the project knows them.  [§5.1.3]"""

    CSUM = 0
    GUEST_CSUM = 1
    CTRL_GUEST_OFFLOADS = 2
    MTU = 3
    MAC = 5
    GUEST_TSO4 = 7
    GUEST_TSO6 = 8
    GUEST_ECN = 9
    GUEST_UFO = 10
    HOST_TSO4 = 11
    HOST_TSO6 = 12
    HOST_ECN = 13
    HOST_UFO = 14
    MRG_RXBUF = 15
    STATUS = 16
    CTRL_VQ = 17
    CTRL_RX = 18
    CTRL_VLAN = 19
    CTRL_RX_EXTRA = 20
    GUEST_ANNOUNCE = 21
    MQ = 22
    CTRL_MAC_ADDR = 23
    HASH_REPORT = 57
    GUEST_HDRLEN = 59
    RSS = 60
    RSC_EXT = 61
    STANDBY = 62
    SPEED_DUPLEX = 63


class NetStatus(enum.IntFlag):
    """``virtio_net_config.status``.  [§5.1.4]"""

    LINK_UP = 1
    ANNOUNCE = 2


class NetHdrFlag(enum.IntFlag):
    """``virtio_net_hdr.flags``.  [§5.1.6]"""

    NEEDS_CSUM = 1
    DATA_VALID = 2
    RSC_INFO = 4


class NetGso(enum.IntEnum):
    """``virtio_net_hdr.gso_type``.  [§5.1.6]"""

    NONE = 0
    TCPV4 = 1
    UDP = 3
    TCPV6 = 4
    UDP_L4 = 5


#: Bits of ``virtio_net_hdr.gso_type`` beside the type.  [§5.1.6]
GSO_UDP_TUNNEL_IPV4, GSO_UDP_TUNNEL_IPV6 = 0x20, 0x40


class CtrlClass(enum.IntEnum):
    """``virtio_net_ctrl.class``.  [§5.1.6.5]"""

    RX = 0
    MAC = 1
    VLAN = 2
    ANNOUNCE = 3
    MQ = 4


class CtrlRx(enum.IntEnum):
    """Commands of class RX; a byte 0 or 1 follows.  [§5.1.6.5.1]"""

    PROMISC = 0
    ALLMULTI = 1
    ALLUNI = 2
    NOMULTI = 3
    NOUNI = 4
    NOBCAST = 5


class CtrlMac(enum.IntEnum):
    """Commands of class MAC.  [§5.1.6.5.2]"""

    TABLE_SET = 0
    ADDR_SET = 1


class CtrlMq(enum.IntEnum):
    """Commands of class MQ; the number of pairs follows, 16 bits.  [§5.1.6.5.5]"""

    VQ_PAIRS_SET = 0


class NetHeader(data.Struct):
    """``struct virtio_net_hdr``, 12 bytes; legacy without MRG_RXBUF: the first 10.  [§5.1.6]"""

    flags: 8
    gso_type: 8
    hdr_len: 16
    gso_size: 16
    csum_start: 16
    csum_offset: 16
    num_buffers: 16


class CtrlHeader(data.Struct):
    """Start of a control command, 2 bytes; ``ctrl_class`` is the standard's ``class``.  [§5.1.6.5]"""

    ctrl_class: 8
    command: 8


class NetConfig(data.Struct):
    """``struct virtio_net_config``, 28 bytes.  [§5.1.4]"""

    mac: 48  # first octet of the address in the lowest byte
    status: 16
    max_virtqueue_pairs: 16
    mtu: 16
    speed: 32  # Mbit/s
    duplex: 8
    rss_max_key_size: 8
    rss_max_indirection_table_length: 16
    supported_hash_types: 32
    supported_tunnel_types: 32
