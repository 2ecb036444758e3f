"""CLIP: pictures and captions to unit vectors in one named space."""
