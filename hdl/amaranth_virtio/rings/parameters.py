"""Checks of constructor arguments that several components of the engine share."""

from typing import TypeGuard

from ..chain import TOKEN

__all__ = ["check_queue_size", "check_queues", "check_quota"]


def _integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _power_of_two(value: object, least: int, most: int) -> bool:
    return _integer(value) and least <= value <= most and not value & (value - 1)


def check_queues(queues: int) -> int:
    """Number of virtqueues."""
    if not _integer(queues) or not 1 <= queues <= 256:
        raise ValueError(f"Number of queues must be an integer from 1 to 256, not {queues!r}")
    return queues


def check_queue_size(queue_size: int) -> int:
    """Greatest queue size that a driver may choose."""
    if not _power_of_two(queue_size, 2, 1024):
        raise ValueError(f"Queue size must be a power of two from 2 to 1024, not {queue_size!r}")
    return queue_size


def check_quota(quota: int, queues: int) -> int:
    """Chains in flight per queue: there must be a token for each."""
    if not _power_of_two(quota, 1, 256):
        raise ValueError(f"Quota must be a power of two from 1 to 256, not {quota!r}")
    if queues * quota > 1 << TOKEN.width:
        raise ValueError(f"{queues} queues with a quota of {quota} need more than {1 << TOKEN.width} tokens")
    return quota
