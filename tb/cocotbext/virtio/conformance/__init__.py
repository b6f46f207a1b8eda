"""Which requirements of the standard the test list has shown to hold, for which device, and where."""

from .accounting import Account, CaseResult, Status, account, worst
from .catalogue import Requirement, catalogue, untestable
from .conditions import Facts, look, why_not

__all__ = [
    "Account",
    "CaseResult",
    "Facts",
    "Requirement",
    "Status",
    "account",
    "catalogue",
    "look",
    "untestable",
    "why_not",
    "worst",
]
