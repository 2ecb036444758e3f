"""The names of the closers and what each does, for every layer that names them; imports nothing, so any help may."""

CLOSERS = {
    "zero-shot": "a caption's own embedding",
    "mean-shift": "a caption, moved by the step from the mean text to the mean picture",
    "neighbours": "a caption, as a mean of the corpus's nearest pictures",
    "prior": "a caption, through the diffusion prior",
}
CHOICES = ("auto", *CLOSERS)
"""What a user may ask for; `auto` is `prior` where there is one, else `neighbours` where there is a bank, else
`zero-shot`."""


def unknown(name: str, word: str = "closer") -> str:
    """The sentence that refuses a name which is none of CHOICES; `word` is what the user called it."""
    return f"{word} {name} is unknown: choose one of {', '.join(CHOICES)}"
