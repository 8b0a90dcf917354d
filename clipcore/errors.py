"""Everything clipcore raises on purpose. Messages say what to do next."""

from __future__ import annotations

from enum import StrEnum


class ClipError(Exception):
    """The root of clipcore's errors."""


class RejectReason(StrEnum):
    """Why bytes cannot be used as an image. Stored and shown, so the list stays short and stable."""

    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BROKEN = "broken"


class ImageRejected(ClipError):
    """These bytes are not an image that can be encoded. Trying again will not help.

    most: the limit that it exceeds, where it exceeds one.
    """

    def __init__(self, reason: RejectReason, message: str, *, most: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.most = most


class ModelUnavailable(ClipError):
    """The model could not be loaded: neither local nor reachable, or broken."""


class TextNotSupported(ClipError):
    """An image-only model was given text."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"{model_id!r} is an image-only model without a text encoder; use a CLIP or SigLIP model.")


class BadInput(ClipError):
    """What a person gave cannot be used: a missing file, a table without the columns it needs, a wrong name."""


class TextTooLong(BadInput, RuntimeError):
    """A text has more tokens than the context holds. A RuntimeError too, which is what OpenAI's tokenizer raises."""

    def __init__(self, number: int, text: str, tokens: int, context_length: int) -> None:
        shown = text if len(text) <= 40 else f"{text[:39]}…"
        super().__init__(
            f"Text {number + 1} ({shown!r}) has {tokens} tokens and the context holds {context_length}; shorten it, or "
            "allow it to be truncated."
        )


class QueueFull(ClipError):
    """The engine has as much waiting work as it accepts. Try again later."""


class EngineClosed(ClipError):
    """The engine is closing or closed and takes no more work."""


class EncodingFailed(ClipError):
    """This one input failed, even alone in its batch. It or the machine may be the cause: trying again may help."""


class InvalidCheckpoint(ValueError):
    """The weights are broken or of another kind. The message is a clause; `open_checkpoint` adds the model's name."""
