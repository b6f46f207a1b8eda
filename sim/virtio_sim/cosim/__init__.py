"""Co-simulation: a PCI function behind a vfio-user socket, for a virtual machine to attach."""
