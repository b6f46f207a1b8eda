"""Hosts: where a device is reached."""
