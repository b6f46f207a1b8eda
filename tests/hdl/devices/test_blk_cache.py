"""The cache mode of a block device.  [virtio 1.4 §5.2.5]"""

import random

import pytest
from helpers.blk import FLUSH_ACCEPTED, OK, OUT, VERSION_1, WCE_ACCEPTED, ZEROES, BlkBench, request, segment

WRITEBACK = 32  # offset


async def choose(ctx, device, value):
    """The driver writes ``writeback``."""
    ctx.set(device.config_write.enable, 1 << WRITEBACK)
    ctx.set(device.config_write.data.writeback, value)
    await ctx.tick()
    ctx.set(device.config_write.enable, 0)


async def is_durable(ctx, bench, sector):
    new = random.Random(sector).randbytes(512)
    assert await bench.do(ctx, request(OUT, sector, new)) == OK
    return bench.storage.durable[512 * sector : 512 * (sector + 1)] == new


@pytest.mark.parametrize(
    "features, mode",
    [
        (VERSION_1 | WCE_ACCEPTED | FLUSH_ACCEPTED, 1),
        (VERSION_1 | FLUSH_ACCEPTED, 1),
        (VERSION_1 | WCE_ACCEPTED, 0),
        (VERSION_1, 0),
    ],
)
def test_the_first_mode_depends_on_what_is_accepted(features, mode):
    """BLK-DEV-03: it is there from FEATURES_OK on, before DRIVER_OK."""
    bench = BlkBench(64, features=0, driver_ok=False)

    async def main(ctx):
        device = bench.device
        assert ctx.get(device.config.writeback) == 1
        ctx.set(device.features, features)
        await ctx.tick().repeat(2)
        assert ctx.get(device.config.writeback) == mode
        ctx.set(device.driver_ok, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(device.config.writeback) == mode
        assert await is_durable(ctx, bench, 2) == (not mode)

    bench.run(main)


def test_a_driver_with_config_wce_changes_the_mode_at_any_time():
    """BLK-DEV-31: zeros are writes, too. A reset makes it 1 again."""
    bench = BlkBench(64, features=VERSION_1 | WCE_ACCEPTED | FLUSH_ACCEPTED)

    async def main(ctx):
        device = bench.device
        for sector, mode in enumerate((0, 1, 0, 0, 2)):
            await choose(ctx, device, mode)
            assert ctx.get(device.config.writeback) == (mode != 0)
            assert await is_durable(ctx, bench, sector) == (mode == 0)
        await choose(ctx, device, 0)
        assert await bench.do(ctx, request(ZEROES, 0, segment(4, 1))) == OK
        assert bench.storage.durable[4 * 512 : 5 * 512] == bytes(512)
        ctx.set(device.chains.reset, 1)
        await ctx.tick().repeat(2)
        ctx.set(device.chains.reset, 0)
        assert ctx.get(device.config.writeback) == 1

    bench.run(main)


def test_a_driver_without_config_wce_does_not_change_it():
    bench = BlkBench(64, features=VERSION_1 | FLUSH_ACCEPTED)

    async def main(ctx):
        await choose(ctx, bench.device, 0)
        assert ctx.get(bench.device.config.writeback) == 1
        assert not await is_durable(ctx, bench, 1)

    bench.run(main)


@pytest.mark.parametrize("mode", [0, 1])
def test_a_legacy_driver_chooses_before_it_accepts_and_its_features_change_nothing(mode):
    """BLK-LEG-DEV-03, BLK-LEG-DEV-04."""
    bench = BlkBench(64, features=0, driver_ok=False, legacy=True)

    async def main(ctx):
        device = bench.device
        await choose(ctx, device, mode)
        steps = [(FLUSH_ACCEPTED, 0), (0, 0), (WCE_ACCEPTED, 0), (WCE_ACCEPTED, 1)]
        for features, driver_ok in steps:
            ctx.set(device.features, features)
            ctx.set(device.driver_ok, driver_ok)
            await ctx.tick().repeat(2)
            assert ctx.get(device.config.writeback) == mode
        assert await is_durable(ctx, bench, 3) == (not mode)

    bench.run(main)


@pytest.mark.parametrize("flush", [0, FLUSH_ACCEPTED])
def test_driver_ok_without_config_wce_makes_the_mode_that_of_flush(flush):
    """BLK-LEG-DEV-03."""
    bench = BlkBench(64, features=0, driver_ok=False, legacy=True)

    async def main(ctx):
        device = bench.device
        await choose(ctx, device, not flush)
        ctx.set(device.features, flush)
        ctx.set(device.driver_ok, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(device.config.writeback) == bool(flush)
        await choose(ctx, device, not flush)
        assert ctx.get(device.config.writeback) == bool(flush)

    bench.run(main)
