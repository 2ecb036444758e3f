"""From prompt files to sound files: the `generate` command."""
