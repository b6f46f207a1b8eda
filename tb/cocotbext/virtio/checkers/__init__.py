"""Passive monitors, always on: each collects ``findings``, one sentence per broken rule."""
