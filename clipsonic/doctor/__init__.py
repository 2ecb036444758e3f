"""What this installation has and what is missing for what: the `doctor` command."""
