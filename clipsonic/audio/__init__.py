"""Sound as files, as mel pictures, and back: wave (files and measures), mel, vocoder, picture."""
