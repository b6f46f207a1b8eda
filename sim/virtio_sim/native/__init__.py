"""One verilated endpoint and the host above it in a shared library, without a simulator around it."""
