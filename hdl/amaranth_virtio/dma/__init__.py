"""Reads from and writes to host memory."""
