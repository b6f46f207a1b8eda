"""Which requirements of the standard the test list has shown to hold, for which device, and where."""

from .accounting import Account, CaseResult, Status, account, broken, worst
from .catalogue import Requirement, catalogue, unbreakable, untestable
from .conditions import Facts, look, why_not

__all__ = [
    "Account",
    "CaseResult",
    "Facts",
    "Requirement",
    "Status",
    "account",
    "broken",
    "catalogue",
    "look",
    "unbreakable",
    "untestable",
    "why_not",
    "worst",
]
