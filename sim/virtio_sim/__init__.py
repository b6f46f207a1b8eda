"""How things are run: builds, simulations, command line."""
