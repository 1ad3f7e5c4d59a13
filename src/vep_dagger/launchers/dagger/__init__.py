"""Servers inside Dagger: an agent in the exec, and a bridge to it."""
