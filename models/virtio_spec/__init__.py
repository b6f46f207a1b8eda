"""What the standards say: numbers, wire formats, offsets.  No behaviour.

Virtio is VIRTIO 1.4 (committee specification 01), PCI Express the base specification 5.0.
"""
