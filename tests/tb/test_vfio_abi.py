"""What the kernel is told, against ``linux/vfio.h`` worked out by hand."""

import struct

from cocotbext.virtio.backends import vfio_abi as abi
from cocotbext.virtio.backends.vfio_abi import Action, Interrupt, Ioctl, MapFlag


def test_requests_are_of_type_semicolon_from_100_on_without_direction_and_size():
    numbers = {
        "GET_API_VERSION": 0,
        "CHECK_EXTENSION": 1,
        "SET_IOMMU": 2,
        "GROUP_GET_STATUS": 3,
        "GROUP_SET_CONTAINER": 4,
        "GROUP_GET_DEVICE_FD": 6,
        "DEVICE_GET_REGION_INFO": 8,
        "DEVICE_GET_IRQ_INFO": 9,
        "DEVICE_SET_IRQS": 10,
        "IOMMU_MAP_DMA": 13,
    }
    assert {each.name: each.value for each in Ioctl} == {
        name: ord(";") << 8 | 100 + number for name, number in numbers.items()
    }


def words(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


def test_structures_begin_with_their_size():
    assert abi.group_status() == words(8, 0)
    assert abi.region_info(7) == words(32, 0, 7, 0) + bytes(16)
    assert abi.interrupt_info(Interrupt.MSIX) == words(16, 0, 2, 0)


def test_a_map_has_flags_then_address_here_address_there_and_size():
    found = abi.dma_map(MapFlag.READ | MapFlag.WRITE, 0x7F00_0000_1000, 0x1_2345_0000, 0x10_0000)
    assert found == words(32, 3) + struct.pack("=QQQ", 0x7F00_0000_1000, 0x1_2345_0000, 0x10_0000)


def test_eventfds_for_vectors_follow_the_head():
    found = abi.irq_set(
        Action.DATA_EVENTFD | Action.TRIGGER,
        Interrupt.MSIX,
        start=1,
        count=2,
        data=struct.pack("=ii", 9, -1),
    )
    assert found == words(28, 4 | 32, 2, 1, 2) + words(9, 0xFFFF_FFFF)


def test_all_interrupts_of_one_kind_are_turned_off_with_none_of_them():
    found = abi.irq_set(Action.DATA_NONE | Action.TRIGGER, Interrupt.INTX, count=0)
    assert found == words(20, 1 | 32, 0, 0, 0)


def test_what_the_kernel_answers_is_found_where_it_is():
    answer = words(32, 3, 0, 0) + struct.pack("=QQ", 0x4000, 1 << 40)
    assert abi.RegionInfo(*abi.REGION_INFO.unpack(answer)[-2:]) == (0x4000, 1 << 40)
    assert abi.IRQ_INFO.unpack(words(16, 9, 2, 2))[3] == 2
