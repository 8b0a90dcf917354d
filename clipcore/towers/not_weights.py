"""Why a file cannot be used, said where the file's name is not known."""

from __future__ import annotations


class NotWeights(ValueError):
    """These are not the weights that they should be. The message is half a sentence; `open_checkpoint`, which knows the
    model's name, says the other half.
    """
