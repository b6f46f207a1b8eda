"""Runs the test list on a backend, and accounts for every requirement."""
