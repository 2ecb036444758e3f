"""Published weights into folders of ours: text priors and vocoders."""
