"""Random bad input: rings that the standard does not allow, completions that are wrong, late or missing."""

from .plan import Plan
from .session import FuzzFailure, Outcome, fuzz

__all__ = ["FuzzFailure", "Outcome", "Plan", "fuzz"]
