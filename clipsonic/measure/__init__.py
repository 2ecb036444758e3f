"""How alike sounds are and what they obey: figures for lessons and reports, as pure functions."""
