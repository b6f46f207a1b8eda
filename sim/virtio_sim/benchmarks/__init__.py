"""Benchmarks: what ``make bench`` measures. Nothing here passes or fails by a figure."""
