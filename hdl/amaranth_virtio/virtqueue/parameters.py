"""Checks of constructor arguments that several components of the engine share."""

__all__ = ["check_queue_size", "check_queues", "check_slots"]


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_queues(queues: int) -> int:
    """Number of virtqueues."""
    if not _integer(queues) or not 1 <= queues <= 65535:
        raise ValueError(f"Number of queues must be an integer from 1 to 65535, not {queues!r}")
    return queues


def check_queue_size(queue_size: int) -> int:
    """Largest queue size that a driver may choose."""
    if not _integer(queue_size) or not 2 <= queue_size <= 1024 or queue_size & (queue_size - 1):
        raise ValueError(f"Queue size must be a power of two from 2 to 1024, not {queue_size!r}")
    return queue_size


def check_slots(slots: int) -> int:
    """Number of chains in flight."""
    if not _integer(slots) or not 1 <= slots <= 256:
        raise ValueError(f"Number of slots must be an integer from 1 to 256, not {slots!r}")
    return slots
