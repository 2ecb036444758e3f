"""Training: a corpus folder to a pipeline folder. The only place that imports Lightning."""
