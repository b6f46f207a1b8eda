"""Verification kit for virtio PCI devices: driver, host backends, checkers, test list."""
