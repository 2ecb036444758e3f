"""The ear: from a sound to the CLIP space of the frames that would go with it."""
