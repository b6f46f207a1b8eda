"""What the rings' features do to a device: registers, notifications, order, and the reset of a queue."""

import pytest
from virtio_models.kind import DeviceKind
from virtio_models.options import PLAIN, RingOptions
from virtio_models.vmmci import Vmmci
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

INDIRECT, EVENT = 1 << 28, 1 << 29
VERSION_1, PACKED, ORDER, DATA, CONFIG_DATA, RESET = (1 << bit for bit in (32, 34, 35, 38, 39, 40))
#: What a card says of itself in any case: VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM.
CARD = 0x13 << 32
ALL = INDIRECT | EVENT | PACKED | ORDER | DATA | CONFIG_DATA | RESET
NOTIFY = 0x3000
BUFFERS = 0x8000


class Scripted(DeviceKind):
    """Serves what it is told to, and notes what it was asked."""

    device_type = DeviceType.ENTROPY
    class_code = ClassCode.ENTROPY
    queues = 2

    def __init__(self):
        self.script = []
        self.asked = []

    def serve(self, queue, waiting, rng):
        self.asked.append((queue, [chain.readable for chain in waiting]))
        return self.script.pop(0) if self.script else []


class Driver:
    """Two queues with rings at literal addresses, and one register access at a time."""

    def __init__(self, device):
        self.device, self.memory = device, device.dma
        self.index = 0

    def read(self, offset, size):
        return self.device.pci.bar_read(4, offset, size)

    def write(self, offset, size, value):
        self.device.pci.bar_write(4, offset, size, value)

    def negotiate(self, features):
        for window in range(2):
            self.write(8, 4, window)
            self.write(12, 4, features >> 32 * window & 0xFFFF_FFFF)
        self.write(20, 1, 3)
        self.write(20, 1, 11)
        assert self.read(20, 1) == 11

    def set_up(self, queue, *, size=None):
        self.write(22, 2, queue)
        if size is not None:
            self.write(24, 2, size)
        base = 0x1000 + 0x1000 * queue
        for offset, address in ((32, base), (40, base + 0x400), (48, base + 0x800)):
            self.write(offset, 8, address)
        self.write(28, 2, 1)

    def start(self, features=0, **options):
        self.negotiate(features | VERSION_1)
        for queue in range(2):
            self.set_up(queue, **options)
        self.write(20, 1, 15)

    def offer(self, queue, number, length=4):
        """Make descriptor ``number`` of a split ring available: a readable byte, and a writable buffer."""
        base = 0x1000 + 0x1000 * queue
        for place, (address, size, flags, following) in {
            2 * number: (BUFFERS + 0x100 * number, 1, 1, 2 * number + 1),
            2 * number + 1: (BUFFERS + 0x100 * number + 0x10, length, 2, 0),
        }.items():
            for field, width, value in ((0, 8, address), (8, 4, size), (12, 2, flags), (14, 2, following)):
                self.memory.put(base + 16 * place + field, value, width)
        self.memory.put(BUFFERS + 0x100 * number, number, 1)
        index = self.memory.get(base + 0x402, 2)
        self.memory.put(base + 0x404 + 2 * (index % 8), 2 * number, 2)
        self.memory.put(base + 0x402, index + 1, 2)

    def used(self, queue):
        """Elements of the used ring so far."""
        base = 0x1800 + 0x1000 * queue
        return [
            (self.memory.get(base + 4 + 8 * n, 4), self.memory.get(base + 8 + 8 * n, 4))
            for n in range(self.memory.get(base + 2, 2))
        ]

    def kick(self, queue, value=None, size=2):
        self.write(NOTIFY + 4 * queue, size, queue if value is None else value)

    def work(self):
        while self.device.step():
            pass

    def reset_queue(self, queue):
        self.write(22, 2, queue)
        self.write(58, 2, 1)


@pytest.fixture
def kind():
    return Scripted()


@pytest.fixture
def driver(make, kind):
    return Driver(make(kind, queue_size=8, rings=RingOptions()))


def offered(device, interface):
    if interface is Interface.LEGACY:
        return device.pci.bar_read(0, 0, 4)
    found = 0
    for window in range(2):
        device.pci.bar_write(4, 0, 4, window)
        found |= device.pci.bar_read(4, 4, 4) << 32 * window
    return found


@pytest.mark.parametrize(
    ("interface", "through", "rings", "features"),
    [
        (Interface.MODERN, Interface.MODERN, RingOptions(), ALL | CARD),
        (Interface.TRANSITIONAL, Interface.MODERN, RingOptions(), ALL | CARD),
        (Interface.TRANSITIONAL, Interface.LEGACY, RingOptions(), INDIRECT | EVENT | 1 << 27),
        (Interface.LEGACY, Interface.LEGACY, RingOptions(), INDIRECT | EVENT | 1 << 27),
        (Interface.MODERN, Interface.MODERN, PLAIN, CARD),
        *(
            (Interface.MODERN, Interface.MODERN, RingOptions(**{name: False}), (ALL ^ bit) | CARD)
            for name, bit in {
                "packed": PACKED,
                "indirect": INDIRECT,
                "event_idx": EVENT,
                "in_order": ORDER,
                "ring_reset": RESET,
                "notification_data": DATA,
                "notif_config_data": CONFIG_DATA,
            }.items()
        ),
    ],
)
def test_each_feature_is_offered_or_not(make, kind, interface, through, rings, features):
    """FEAT-DEV-04; on the legacy interface, only what has a bit there. Trap 25."""
    device = make(kind, interface=interface, rings=rings)
    assert offered(device, through) == features


def test_a_device_without_queues_has_no_features_of_rings(make):
    class NoClock:
        def now(self):
            return 0, 0

    device = make(Vmmci(NoClock()), interface=Interface.LEGACY, rings=RingOptions())
    assert offered(device, Interface.LEGACY) & ALL == 0


@pytest.mark.parametrize(
    ("features", "sizes"), [(0, {1: 1, 4: 4, 3: 8, 9: 8, 0: 8}), (PACKED, {1: 1, 5: 5, 7: 7, 9: 8, 0: 8})]
)
def test_only_packed_rings_have_any_size(make, kind, features, sizes):
    """PCI-CC-DEV-15, PACKED-DEV-P11."""
    for size, taken in sizes.items():
        driver = Driver(make(kind, queue_size=8, rings=RingOptions()))
        driver.negotiate(features | VERSION_1)
        driver.write(24, 2, size)
        assert driver.read(24, 2) == taken


def test_registers_set_before_the_negotiation_stay(driver):
    driver.write(24, 2, 4)
    driver.write(32, 8, 0x1234_0000_5670)
    driver.negotiate(VERSION_1 | PACKED)
    assert (driver.read(24, 2), driver.read(32, 8)) == (4, 0x1234_0000_5670)


# -- notifications -----------------------------------------------------------------------------------------


def hears(driver, kind, queue, value, size):
    """Whether the device looks at the queue when it is kicked like this."""
    kind.asked.clear()
    driver.offer(queue, 0)
    driver.kick(queue, value, size)
    driver.work()
    return bool(kind.asked)


@pytest.mark.parametrize(
    ("features", "value", "size", "heard"),
    [
        (0, 1, 2, True),
        (DATA, 1, 2, False),
        (DATA, 0x0001_0001, 4, True),
        (DATA, 0xABCD_0001, 4, True),  # where the driver says it is, is a hint
        (CONFIG_DATA, 1, 2, False),
        (CONFIG_DATA, None, 2, True),
        (CONFIG_DATA | DATA, 0x0001_0001, 4, False),
        (CONFIG_DATA | DATA, None, 4, True),
        (CONFIG_DATA | DATA, None, 2, False),
    ],
)
def test_a_kick_says_what_was_negotiated(driver, kind, features, value, size, heard):
    """PCI-NTF-DRV-01 to 06; ``None``: what the register of queue 1 says."""
    driver.start(features)
    driver.write(22, 2, 1)
    told = driver.read(56, 2)
    assert (told not in (0, 1)) == bool(features & CONFIG_DATA)
    assert hears(driver, kind, 1, told if value is None else value, size) == heard


def test_what_comes_while_the_device_asks_to_be_notified_is_seen(driver, kind):
    """No kick is needed for what is available before ``avail_event`` is written, and soon after."""
    driver.start(EVENT)
    driver.kick(0)
    while driver.device.dma.writes == 0:
        assert driver.device.step()
    driver.offer(0, 1)
    driver.work()
    assert kind.asked[0] == (0, [b"\x01"])
    assert driver.memory.get(0x1800 + 4 + 8 * 8, 2) == 1


# -- order -------------------------------------------------------------------------------------------------


def test_chains_of_one_call_are_used_in_its_order_and_told_together(driver, kind):
    driver.start()
    for number in range(3):
        driver.offer(0, number)
    driver.kick(0)
    driver.work()
    kind.script, before = [[(2, b"c"), (0, b"aa")]], driver.memory.writes
    kind.poke()
    driver.work()
    assert driver.used(0) == [(4, 1), (0, 2)]
    assert driver.memory.writes == before + 5  # two of data, two elements, the index
    kind.script = [[(0, b"bbb")]]
    kind.poke()
    driver.work()
    assert driver.used(0) == [(4, 1), (0, 2), (2, 3)]


def test_a_device_that_has_nothing_yet_is_asked_after_a_poke(driver, kind):
    driver.start()
    driver.offer(0, 0)
    driver.kick(0)
    driver.work()
    assert (kind.asked, driver.used(0)) == ([(0, [b"\0"])], [])
    kind.script = [[(0, b"xy")]]
    kind.poke()
    driver.work()
    assert driver.used(0) == [(0, 2)]
    assert driver.memory.get(BUFFERS + 0x10, 2) == 0x7978


def test_it_is_asked_again_when_another_chain_comes(driver, kind):
    driver.start()
    for number in (0, 3):
        driver.offer(1, number)
        driver.kick(1)
        while driver.device.step():
            pass
    assert [b"\0", b"\x03"] in [waiting for _, waiting in kind.asked]


@pytest.mark.parametrize("features", [0, ORDER])
def test_in_order_a_chain_waits_for_those_before_it(driver, kind, features):
    """RFB-DEV-05."""
    driver.start(features)
    for number in range(2):
        driver.offer(0, number)
        driver.kick(0)
        driver.work()
    kind.script = [[(1, b"late")]]
    kind.poke()
    driver.work()
    assert driver.used(0) == ([] if features else [(2, 4)])
    kind.script = [[(0, b"soon")]]
    kind.poke()
    driver.work()
    if not features:
        assert driver.used(0) == [(2, 4), (0, 4)]
    else:
        assert driver.memory.get(0x1802, 2) == 2
        assert driver.used(0) in ([(0, 4), (2, 4)], [(2, 4), (0, 0)])


def test_in_order_a_chain_that_was_not_filled_has_an_element(make, kind):
    """Of a chain without an element the driver takes it that it was written completely."""
    for seed in range(8):
        driver = Driver(make(kind, queue_size=8, rings=RingOptions(), seed=seed))
        driver.start(ORDER)
        for number in range(2):
            driver.offer(0, number)
            driver.kick(0)
            driver.work()
        kind.script = [[(0, b"abc"), (1, b"defg")]]
        kind.poke()
        driver.work()
        assert driver.used(0) == [(0, 3), (2, 4)]


# -- reset of a queue --------------------------------------------------------------------------------------


def polls(driver):
    """Reads of ``queue_reset`` until it is 0, each with some work between."""
    for count in range(1, 10):
        if driver.read(58, 2) == 0:
            return count
        driver.device.step()
    raise AssertionError("the reset does not end")


def test_a_queue_reset_shows_until_it_is_over(make, kind):
    """PCI-CC-DEV-09, PCI-CC-DEV-11, PCI-CC-DEV-12, PCI-CC-DEV-13. Trap 27."""
    counts = set()
    for seed in range(10):
        driver = Driver(make(kind, queue_size=8, rings=RingOptions(), seed=seed))
        driver.start(RESET, size=4)
        assert driver.read(58, 2) == 0
        driver.reset_queue(0)
        counts.add(polls(driver))
        assert [driver.read(offset, 2) for offset in (24, 26, 28, 58)] == [8, 0xFFFF, 0, 0]
        assert [driver.read(offset, 8) for offset in (32, 40, 48)] == [0, 0, 0]
        driver.write(22, 2, 1)
        assert [driver.read(offset, 2) for offset in (24, 28)] == [4, 1]
    assert counts == {1, 2, 3}


def test_a_queue_that_was_reset_uses_nothing(driver, kind):
    """QRST-DEV-01."""
    driver.start(RESET)
    for queue in range(2):
        driver.offer(queue, queue)
        driver.kick(queue)
    driver.work()
    driver.reset_queue(0)
    polls(driver)
    driver.kick(0)
    kind.script = [[(0, b"xy")], [(0, b"xy")]]
    kind.poke()
    driver.work()
    assert (driver.used(0), driver.used(1)) == ([], [(2, 2)])


def test_a_queue_starts_anew_after_its_reset(driver, kind):
    """QRST-DEV-02, QRST-DEV-03, PCI-CC-DEV-10: indices from 0, another size."""
    driver.start(RESET)
    for number in range(2):
        kind.script = [[(0, b"xy")]]
        driver.offer(0, number)
        driver.kick(0)
        driver.work()
    assert driver.used(0) == [(0, 2), (2, 2)]
    driver.reset_queue(0)
    polls(driver)
    driver.memory.bytes[0x1000:0x2000] = bytes(0x1000)
    driver.set_up(0, size=4)
    assert [driver.read(offset, 2) for offset in (24, 28, 58)] == [4, 1, 0]
    kind.script = [[(0, b"z")]]
    driver.offer(0, 1)
    driver.kick(0)
    driver.work()
    assert driver.used(0) == [(2, 1)]


def test_only_what_was_negotiated_resets_a_queue(driver):
    driver.start()
    driver.reset_queue(0)
    assert [driver.read(offset, 2) for offset in (58, 28)] == [0, 1]


def test_a_write_of_0_resets_no_queue(driver):
    driver.start(RESET)
    driver.write(58, 2, 0)
    assert [driver.read(offset, 2) for offset in (58, 28)] == [0, 1]


def test_a_kind_knows_which_queues_are_in_use(driver, kind):
    driver.negotiate(VERSION_1 | RESET)
    assert not kind.in_use(0)
    driver.set_up(0)
    assert kind.in_use(0) and not kind.in_use(1)
    driver.reset_queue(0)
    assert not kind.in_use(0)


# -- a packed ring through the registers -------------------------------------------------------------------


def test_a_packed_ring_works(driver, kind):
    """One list of two descriptors in a ring of three, with the event suppression of both sides."""
    driver.start(PACKED | EVENT, size=3)
    memory = driver.memory
    memory.bytes[0x1000:0x1020] = bytes.fromhex(
        "0080000000000000 01000000 0000 8100 1080000000000000 04000000 0700 8200"
    )
    memory.put(BUFFERS, 0x55, 1)
    kind.script = [[(0, b"abc")]]
    driver.kick(0)
    driver.work()
    assert kind.asked == [(0, [b"\x55"])]
    assert memory.bytes[BUFFERS + 0x10 : BUFFERS + 0x14] == b"abc\0"
    assert memory.bytes[0x1008:0x1010] == bytes.fromhex("03000000 0700 8280")
    assert memory.bytes[0x1800:0x1804] == bytes.fromhex("0280 0200")


def test_a_broken_packed_ring_needs_a_reset(driver, kind):
    driver.start(PACKED, size=3)
    driver.memory.bytes[0x1000:0x1010] = bytes.fromhex("0080000000000000 01000000 0000 8100")
    driver.kick(0)
    driver.work()
    assert driver.read(20, 1) == 79
    assert [driver.read(0x800 + offset, 2) for offset in (4, 6, 8, 10)] == [12, 0, 0, 1]
