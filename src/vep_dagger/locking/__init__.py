"""Pins resolved: tags to commits, images to digests, archives and Python environments to hashes."""
