"""Device types."""
