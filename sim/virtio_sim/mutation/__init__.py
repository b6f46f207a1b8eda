"""Does the test list see bugs? Bugs planted into the reference device, and mutants of the gateware."""
