"""Network device, virtio 1.4 §5.1: literal bytes and numbers."""

from virtio_spec import net, wire
from virtio_spec.net import CtrlHeader, NetConfig, NetFeature, NetHeader


def test_a_header_is_12_bytes():
    raw = wire.pack(
        NetHeader, flags=1, hdr_len=0x0102, gso_size=0x0304, csum_start=34, csum_offset=16, num_buffers=0x0506
    )
    assert raw == bytes.fromhex("0100 0201 0403 2200 1000 0605".replace(" ", ""))


def test_both_kinds_of_tunnels_have_a_bit_beside_the_type():
    assert (net.GSO_UDP_TUNNEL_IPV4, net.GSO_UDP_TUNNEL_IPV6) == (0x20, 0x40)


def test_a_control_command_starts_with_class_and_command():
    assert wire.pack(CtrlHeader, ctrl_class=net.CtrlClass.MQ, command=1) == bytes([4, 1])


def test_the_configuration_is_28_bytes():
    assert wire.size(NetConfig) == 28
    offsets = {name: wire.field_offset(NetConfig, name) for name in ("status", "mtu", "speed", "duplex")}
    assert offsets == {"status": 6, "mtu": 10, "speed": 12, "duplex": 16}
    assert wire.pack(NetConfig, mac=0x0605_0403_0201)[:6] == bytes([1, 2, 3, 4, 5, 6])


def test_features_have_their_numbers():
    bits = {NetFeature.CSUM: 0, NetFeature.GUEST_CSUM: 1, NetFeature.MTU: 3, NetFeature.MAC: 5}
    bits |= {NetFeature.MRG_RXBUF: 15, NetFeature.STATUS: 16, NetFeature.CTRL_VQ: 17, NetFeature.CTRL_RX: 18}
    bits |= {NetFeature.MQ: 22, NetFeature.CTRL_MAC_ADDR: 23, NetFeature.SPEED_DUPLEX: 63}
    assert all(feature == number for feature, number in bits.items())
