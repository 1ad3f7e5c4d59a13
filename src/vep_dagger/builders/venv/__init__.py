"""Images as Python environments of this machine."""
