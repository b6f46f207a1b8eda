"""Modules of the test list in which the driver does wrong, or the host: tried on some runs only."""

__all__ = ["HOSTILE"]

HOSTILE = ("hostile_setup", "hostile_rings", "hostile_requests", "outages")
