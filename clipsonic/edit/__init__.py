"""A sound that is there, changed: `clipsonic edit`."""
