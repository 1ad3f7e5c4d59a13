"""Servers by ``docker run``."""
