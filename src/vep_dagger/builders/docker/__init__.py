"""Images by Docker: a Containerfile, and BuildKit."""
