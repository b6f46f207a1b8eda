import pytest
from amaranth_virtio.tlp import check_width
from amaranth_virtio.virtqueue.parameters import check_queue_size, check_queues, check_slots


@pytest.mark.parametrize(
    ("check", "good", "bad", "sentence"),
    [
        (check_width, (64, 128, 256, 512), (0, 32, 96, 1024, None), "width must be one of 64, 128, 256, 512"),
        (
            check_queues,
            (1, 3, 65535),
            (0, 65536, -1, True, 1.0),
            "Number of queues must be an integer from 1 to 65535",
        ),
        (
            check_queue_size,
            (2, 128, 1024),
            (0, 1, 3, 2048, "8", True),
            "Queue size must be a power of two from 2 to 1024",
        ),
        (check_slots, (1, 4, 256), (0, 257, None), "Number of slots must be an integer from 1 to 256"),
    ],
)
def test_an_argument_that_is_not_offered_is_refused_in_one_sentence(check, good, bad, sentence):
    for value in good:
        assert check(value) == value
    for value in bad:
        with pytest.raises(ValueError) as error:
            check(value)
        assert str(error.value) == f"{sentence}, not {value!r}"
