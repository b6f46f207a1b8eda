"""A stock Linux guest that drives virtio devices with its own drivers: what is booted, asked and reported.

``python -m virtio_sim.guest`` runs everything; see :mod:`virtio_sim.guest.run`.
"""
