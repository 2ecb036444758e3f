"""Records and the WebDataset tars that hold them: encode and decode, write, index, load."""
