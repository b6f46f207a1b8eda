"""Adapters between the internal TLP stream and what a hard block or soft stack speaks."""
