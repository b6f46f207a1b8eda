"""What a driver negotiates of the rings."""

import itertools

import pytest
from cocotbext.virtio.backends.model import ModelHost, run
from cocotbext.virtio.driver import probe
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.packed import PackedQueue
from cocotbext.virtio.split import SplitQueue
from cocotbext.virtio.variant import COVERING, PLAIN, RING_FEATURES, RingVariant, variants
from virtio_models.entropy import EntropySource
from virtio_models.options import RingOptions
from virtio_models.rng import Rng
from virtio_spec.virtio_pci import Interface

PACKED, INDIRECT, EVENT, ORDER, DATA, CONFIG, RESET = 34, 28, 29, 35, 38, 39, 40


def rng_host(**options):
    return ModelHost(Rng(EntropySource(1)), queue_size=16, **{"rings": RingOptions()} | options)


def test_a_variant_is_its_feature_bits():
    assert PLAIN.features == 0
    assert RingVariant(packed=True, in_order=True).features == 1 << PACKED | 1 << ORDER
    assert RingVariant(indirect=True, event_idx=True).features == 1 << INDIRECT | 1 << EVENT
    rest = RingVariant(notification_data=True, notif_config_data=True, ring_reset=True)
    assert rest.features == 1 << DATA | 1 << CONFIG | 1 << RESET
    assert rest.ring == PLAIN
    every = (PACKED, INDIRECT, EVENT, ORDER, DATA, CONFIG, RESET)
    assert sum(1 << bit for bit in every) == RING_FEATURES


def test_there_are_16_variants_and_4_of_them_for_legacy_drivers():
    found = variants()
    assert len(found) == len(set(found)) == len({variant.name for variant in found}) == 16
    assert found[0] == PLAIN and PLAIN.name == "split"
    assert RingVariant(True, True, True, True) in found
    assert [variant.name for variant in variants("legacy")] == [
        "split",
        "split-event",
        "split-indirect",
        "split-indirect-event",
    ]
    assert str(RingVariant(packed=True, event_idx=True, ring_reset=True)) == "packed-event-reset"


@pytest.mark.parametrize("variant", variants(), ids=str)
def test_a_driver_accepts_the_ring_features_of_its_variant_and_no_others(variant):
    async def go():
        device = await probe(rng_host(), variant=variant)
        await device.start(features=0)
        assert await device.transport.accepted_features() == variant.features | 1 << 32
        assert isinstance(device.queues[0], PackedQueue if variant.packed else SplitQueue)
        assert device.queues[0].variant == variant
        await device.start(variant=PLAIN)
        assert device.accepted & RING_FEATURES == 0
        assert isinstance(device.queues[0], SplitQueue)

    run(go())


def test_a_variant_is_found_by_its_name():
    for variant in (*variants(), RingVariant(True, False, True, False, True, True, True)):
        assert RingVariant.named(variant.name) == variant
    for name in ("", "packed-split", "event", "split-order-event", "split-packed", "split-fast"):
        with pytest.raises(ValueError, match=f"there is no variant of rings '{name}'"):
            RingVariant.named(name)


def test_a_variant_that_is_not_offered_is_an_error():
    async def go(**options):
        device = await probe(rng_host(**options), variant=RingVariant(packed=True, event_idx=True))
        await device.start()

    with pytest.raises(DriverError, match="does not offer 0x400000000 of a packed-event ring"):
        run(go(rings=RingOptions(packed=False)))
    with pytest.raises(DriverError, match="does not offer 0x400000000 of a packed-event ring"):
        run(go(interface=Interface.LEGACY))


@pytest.mark.parametrize("variant", [PLAIN, RingVariant(packed=True)], ids=str)
@pytest.mark.parametrize(("data", "config"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_kick_has_the_size_and_the_contents_that_were_negotiated(variant, data, config):
    """Queue or what stands for it below; with NOTIFICATION_DATA the place in the ring above."""
    written = []

    class Listens(ModelHost):
        async def bar_write(self, bar, offset, size, value):
            if bar == 4 and offset >= 0x3000:
                written.append((offset - 0x3000, size, value))
            await super().bar_write(bar, offset, size, value)

    async def go():
        host = Listens(Rng(EntropySource(1)), queue_size=16, rings=RingOptions())
        device = await probe(host)
        chosen = RingVariant(variant.packed, notification_data=data, notif_config_data=config)
        await device.start(queue_size=3 if variant.packed else 4, variant=chosen)
        for _ in range(5):
            await device.wait(await device.submit(0, [], [4]))
        name = await device.transport.notification_id(0) if config else 0
        places = [1, 2, 0, 1, 2] if variant.packed else [1, 2, 3, 4, 5]
        wraps = [1, 1, 0, 0, 0] if variant.packed else [0] * 5
        if data:
            expected = [
                (0, 4, wrap << 31 | place << 16 | name) for place, wrap in zip(places, wraps, strict=True)
            ]
        else:
            expected = [(0, 2, name)] * 5
        assert written == expected

    run(go())


def test_a_kick_that_is_not_wanted_is_not_sent():
    async def go():
        device = await probe(rng_host())
        await device.start()
        ring = device.queues[0]
        assert await device.kick()
        ring.used.write(b"\1\0")
        assert not await device.kick()
        assert await device.kick(always=True)
        ring.used.write(b"\0\0")

    run(go())


def test_a_queue_that_is_reset_gives_its_requests_back():
    async def go():
        host = rng_host()
        device = await probe(host, variant=RingVariant(packed=True, ring_reset=True))
        await device.start(queue_size=4)
        requests = [device.prepare(0, [], [4]) for _ in range(3)]
        lost = await device.reset_queue(0)
        assert lost == requests and not any(request.done for request in lost)
        assert host.memory.grants == [] and 0 not in device.queues
        queue = await device.set_up_queue(0, 7)
        assert queue.size == 7
        await device.wait(await device.submit(0, [], [4]))
        device.variant = PLAIN
        with pytest.raises(ValueError, match="RING_RESET was not negotiated"):
            await device.reset_queue(0)

    run(go())


def test_a_queue_reset_that_never_ends_is_given_up():
    async def go():
        host = rng_host()
        device = await probe(host, variant=RingVariant(ring_reset=True))
        await device.start()
        host.device._read_queue_reset = lambda number, by_driver: 1
        await device.reset_queue(0)

    with pytest.raises(DriverError, match="the reset of queue 0 does not end"):
        run(go())


def test_in_the_covering_selection_any_two_features_occur_in_all_combinations():
    names = ("packed", "indirect", "event_idx", "in_order")
    for one, other in itertools.combinations(names, 2):
        assert len({(getattr(v, one), getattr(v, other)) for v in COVERING}) == 4
    assert set(COVERING) <= set(variants())
