"""Images as SquashFS files that enroot and pyxis start."""
