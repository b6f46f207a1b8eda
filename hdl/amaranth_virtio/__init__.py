"""Virtio PCI Express endpoint in Amaranth."""
