"""Front ends of device types: their requests on top of :class:`~cocotbext.virtio.driver.VirtioDevice`."""
