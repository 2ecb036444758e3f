"""`clipsonic evaluate --edits`: how well what is missing of a sound is made, beside fills and another sampler."""
