"""Raw videos to a corpus: list, probe, decode in processes that can be killed, embed, write shards, report."""
