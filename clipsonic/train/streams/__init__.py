"""What lessons read: endless, exactly resumable streams of batches."""
