"""Register front ends of the device core."""
