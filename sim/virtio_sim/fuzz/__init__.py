"""The command ``virtio-endpoint fuzz``: random bad input, by seeds."""
