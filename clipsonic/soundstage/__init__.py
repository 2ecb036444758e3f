"""The bundled raw corpus: videos whose sights cause their sounds, rendered from a law that is known."""
