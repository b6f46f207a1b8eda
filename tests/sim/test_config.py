import json

import pytest
from virtio_sim.config import ConfigError, Configuration, check_image, check_seed

WRONG = {
    "device": ({"device": "gpu"}, "there is no device 'gpu'; choose one of rng, blk, net, vmmci"),
    "width": ({"width": 512}, "the width has to be 64, 128 or 256 bits, not 512"),
    "no entries": ({"queue_size": 0}, "the queue size has to be a power of two from 2 to 1024, not 0"),
    "odd size": ({"queue_size": 48}, "the queue size has to be a power of two from 2 to 1024, not 48"),
    "tags": ({"tags": 250}, "the number of tags has to be from 1 to 204, not 250"),
    "no time": ({"completion_timeout": 0}, "the completion time-out has to be at least 1 cycle, not 0"),
    "no queues": ({"queues": 0}, "the number of queues has to be from 1 to 256, not 0"),
    "many queues": (
        {"device": "blk", "queues": 257},
        "the number of queues has to be from 1 to 256, not 257",
    ),
    "queues of rng": ({"queues": 2}, "only blk and net can have several queues, not rng"),
    "no pairs": (
        {"device": "net", "queues": 0},
        "the number of pairs of queues has to be from 1 to 127, not 0",
    ),
    "many pairs": (
        {"device": "net", "queues": 128},
        "the number of pairs of queues has to be from 1 to 127, not 128",
    ),
    "no disk": ({"ram_sectors": -1}, "a disk in block RAM has up to 65536 sectors, not -1"),
    "RAM of rng": ({"ram_sectors": 8}, "only blk can have a disk in block RAM, not rng"),
    "read-only rng": ({"read_only": True}, "only blk can be read-only, not rng"),
    "interface": (
        {"interface": "old"},
        "there is no interface 'old'; choose one of modern, transitional, legacy",
    ),
    "modern vmmci": ({"device": "vmmci", "interface": "modern"}, "vmmci can only be legacy, not modern"),
    "transitional net": (
        {"device": "net", "interface": "transitional"},
        "net can only be modern, not transitional",
    ),
    "read-only net": ({"device": "net", "read_only": True}, "only blk can be read-only, not net"),
    "transitional vmmci": (
        {"device": "vmmci", "interface": "transitional"},
        "vmmci can only be legacy, not transitional",
    ),
    "queues of vmmci": (
        {"device": "vmmci", "queues": 2},
        "only blk and net can have several queues, not vmmci",
    ),
    "RAM of vmmci": (
        {"device": "vmmci", "ram_sectors": 8},
        "only blk can have a disk in block RAM, not vmmci",
    ),
    "read-only vmmci": ({"device": "vmmci", "read_only": True}, "only blk can be read-only, not vmmci"),
    "queue size of vmmci": (
        {"device": "vmmci", "queue_size": 64},
        "vmmci has no virtqueues, and so no queue size",
    ),
    "chains": ({"chains": 24}, "the chains in flight have to be a power of two from 2 to 256, not 24"),
    "chains of vmmci": ({"device": "vmmci", "chains": 8}, "vmmci has no virtqueues, and so no chains"),
    "tags of vmmci": ({"device": "vmmci", "tags": 8}, "vmmci has no virtqueues, and so no tags"),
    "reads of vmmci": (
        {"device": "vmmci", "completion_timeout": 1000},
        "vmmci has no virtqueues, and so no reads",
    ),
    "no hold": ({"config_hold": 0}, "the configuration hold has to be at least 1 cycle, not 0"),
    "no time to acknowledge": (
        {"device": "vmmci", "ack_timeout": 0},
        "the acknowledgement time-out has to be at least 1 cycle, not 0",
    ),
    "no time to shut down": (
        {"device": "vmmci", "shutdown_timeout": -1},
        "the shutdown time-out has to be at least 1 cycle, not -1",
    ),
    "acknowledgements of rng": (
        {"ack_timeout": 1000},
        "only vmmci has a time-out for the acknowledgement, not rng",
    ),
    "shutdown of blk": (
        {"device": "blk", "shutdown_timeout": 1000},
        "only vmmci has a time-out for the shutdown, not blk",
    ),
}


@pytest.mark.parametrize(("parameters", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_parameter_is_one_sentence(parameters, sentence):
    with pytest.raises(ConfigError) as caught:
        Configuration(**{"device": "rng"} | parameters)
    assert str(caught.value) == sentence


def test_a_name_tells_what_is_not_the_default():
    assert Configuration("rng").name == "rng-128"
    assert Configuration("blk", 64, queue_size=16, tags=8, read_only=True).name == "blk-64-q16-t8-ro"
    assert Configuration("blk", 64, chains=32).name == "blk-64-32chains"
    assert Configuration("blk", queues=3).name == "blk-128-3queues"
    assert Configuration("net", 256, queues=4).name == "net-256-4queues"
    assert Configuration("blk", ram_sectors=64).name == "blk-128-ram64"
    assert Configuration("blk", interface="modern").name == "blk-128"
    assert Configuration("blk", interface="transitional", tags=8).name == "blk-128-transitional-t8"
    assert Configuration("rng", interface="legacy", config_hold=500).name == "rng-128-legacy-h500"
    assert Configuration("vmmci", interface="legacy").name == "vmmci-128"
    assert Configuration("vmmci", 64, ack_timeout=50, shutdown_timeout=90).name == "vmmci-64-a50-s90"


@pytest.mark.parametrize(
    "device, interface", [("rng", "modern"), ("blk", "modern"), ("net", "modern"), ("vmmci", "legacy")]
)
def test_the_interface_is_the_devices_first_unless_given(device, interface):
    assert Configuration(device).interface == interface
    assert Configuration(device) == Configuration(device, interface=interface)


@pytest.mark.parametrize("interface", ["modern", "transitional", "legacy"])
def test_a_configuration_survives_json(interface):
    configuration = Configuration("blk", interface=interface)
    assert Configuration(**json.loads(json.dumps(configuration.as_dict()))) == configuration


def test_a_configuration_has_its_part_of_the_test_list():
    assert Configuration("rng").profile == Configuration("blk").profile == "default"
    assert Configuration("blk", queues=2).profile == Configuration("net", queues=2).profile == "queues"
    assert Configuration("blk", read_only=True).profile == "read_only"


@pytest.mark.parametrize(
    "pairs, size, quota",
    [
        *((1, 64, 128), (1, 256, 256), (1, 1024, 256), (7, 256, 256), (8, 256, 128)),
        *((15, 128, 128), (16, 128, 64), (31, 128, 64), (32, 128, 32), (64, 128, 16), (127, 128, 16)),
    ],
)
def test_a_network_device_has_as_many_chains_in_flight_as_there_are_tokens_for(pairs, size, quota):
    """Of 4096, a queue has 128, or 256 if it is that long; a pair has two, and one more is for control."""
    assert Configuration("net", queues=pairs, queue_size=size).quota == quota
    assert (2 * pairs + 1) * quota <= 4096


def test_other_devices_have_16_chains_in_flight_per_queue():
    assert {Configuration(device).quota for device in ("rng", "blk", "vmmci")} == {16}
    assert Configuration("blk", queues=256).quota == 16


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


def test_chains_in_flight_are_16_unless_said_otherwise_or_as_many_as_a_network_device_can_have():
    assert Configuration("blk").quota == 16
    assert Configuration("blk", chains=32).quota == Configuration("net", chains=32).quota == 32
    # 4096 tokens: 128 for each of 3 queues, but only 16 for each of 255
    assert Configuration("net").quota == 128
    assert Configuration("net", queues=127).quota == 16
