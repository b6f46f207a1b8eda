"""The test list: one set of cases, run unchanged on every backend."""

from .registry import Bench, Case, CaseFailure, Checker, case, cases, run_case

__all__ = ["Bench", "Case", "CaseFailure", "Checker", "case", "cases", "run_case"]
