"""Executable reference: rings, PCI function, device types.  Independent of the gateware."""
