"""The virtqueue engine: split and packed rings behind chain streams."""
