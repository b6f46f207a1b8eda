"""The PCI Express function: routing, configuration space, BAR accesses, MSI-X."""
