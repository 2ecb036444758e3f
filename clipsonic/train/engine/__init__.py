"""What every training shares; it knows no model."""
