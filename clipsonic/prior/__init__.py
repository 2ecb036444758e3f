"""The prior: CLIP text embeddings to CLIP image embeddings of the same space."""
