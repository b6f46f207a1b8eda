import pytest
from virtio_sim.config import ConfigError, Configuration, check_image, check_seed

WRONG = {
    "device": ({"device": "net"}, "there is no device 'net'; choose one of rng, blk"),
    "width": ({"width": 512}, "the width has to be 64, 128 or 256 bits, not 512"),
    "no entries": ({"queue_size": 0}, "the queue size has to be a power of two from 2 to 1024, not 0"),
    "odd size": ({"queue_size": 48}, "the queue size has to be a power of two from 2 to 1024, not 48"),
    "tags": ({"tags": 250}, "the number of tags has to be from 1 to 249, not 250"),
    "no time": ({"completion_timeout": 0}, "the completion time-out has to be at least 1 cycle, not 0"),
    "no queues": ({"queues": 0}, "the number of queues has to be from 1 to 256, not 0"),
    "many queues": (
        {"device": "blk", "queues": 257},
        "the number of queues has to be from 1 to 256, not 257",
    ),
    "queues of rng": ({"queues": 2}, "only blk can have several queues, not rng"),
    "no disk": ({"ram_sectors": -1}, "a disk in block RAM has up to 65536 sectors, not -1"),
    "RAM of rng": ({"ram_sectors": 8}, "only blk can have a disk in block RAM, not rng"),
    "read-only rng": ({"read_only": True}, "only blk can be read-only, not rng"),
}


@pytest.mark.parametrize(("parameters", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_parameter_is_one_sentence(parameters, sentence):
    with pytest.raises(ConfigError) as caught:
        Configuration(**{"device": "rng"} | parameters)
    assert str(caught.value) == sentence


def test_a_name_tells_what_is_not_the_default():
    assert Configuration("rng").name == "rng-128"
    assert Configuration("blk", 64, queue_size=16, tags=8, read_only=True).name == "blk-64-q16-t8-ro"
    assert Configuration("blk", queues=3).name == "blk-128-3queues"
    assert Configuration("blk", ram_sectors=64).name == "blk-128-ram64"


def test_a_configuration_has_its_part_of_the_test_list():
    assert Configuration("rng").profile == Configuration("blk").profile == "default"
    assert Configuration("blk", queues=2).profile == "queues"
    assert Configuration("blk", read_only=True).profile == "read_only"


def test_an_image_is_a_multiple_of_512_bytes(tmp_path):
    path = tmp_path / "disk.img"
    for size in (0, 511, 513):
        path.write_bytes(bytes(size))
        with pytest.raises(ConfigError, match=f"has {size} bytes, which is not a multiple of 512"):
            check_image(path)
    path.write_bytes(b"\x5a" * 1024)
    assert check_image(path) == b"\x5a" * 1024


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no image .*missing.img"):
        check_image(tmp_path / "missing.img")


@pytest.mark.parametrize("seed", [-1, 1 << 31])
def test_a_seed_has_a_range(seed):
    with pytest.raises(ConfigError, match="the seed has to be from 0 to 2147483647"):
        check_seed(seed)
