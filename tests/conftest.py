"""Property tests take the same examples in every run; what to replay stands in the failure."""

import gc

from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("deterministic")


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the garbage collector need not look at it again."""
    gc.freeze()
