"""The virtqueue engine: rings in host memory become chain streams."""
