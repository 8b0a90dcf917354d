"""clipcore's exceptions. Their messages say what to do."""

from __future__ import annotations

from enum import StrEnum


class ClipError(Exception):
    """The base class of clipcore's exceptions."""


class RejectReason(StrEnum):
    """Why bytes cannot be used as an image. Stored in databases and shown to people, so the values stay stable."""

    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_COSTLY = "too_costly"
    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BROKEN = "broken"


class ImageRejected(ClipError):
    """The bytes are no image that can be encoded; trying again will not help.

    limit: the limit that it exceeds, if that is the reason.
    """

    def __init__(self, reason: RejectReason, message: str, *, limit: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.limit = limit


class ModelUnavailable(ClipError):
    """The model could not be loaded: it is neither on this machine nor reachable, or it is broken."""


class TextNotSupported(ClipError):
    """An image-only model was given text."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"{model_id!r} is an image-only model without a text encoder; use a CLIP or SigLIP model.")


class BadInput(ClipError):
    """Input that cannot be used: a missing file, a table without a needed column, an unknown name."""


class TextTooLong(BadInput, RuntimeError):
    """A text has more tokens than the context holds. A RuntimeError too, which is what OpenAI's tokenizer raises."""

    def __init__(self, number: int, text: str, tokens: int, context_length: int) -> None:
        shown = text if len(text) <= 40 else f"{text[:39]}…"
        super().__init__(
            f"Text {number + 1} ({shown!r}) has {tokens} tokens and the context holds {context_length}; shorten it, or "
            "allow it to be truncated."
        )


class QueueFull(ClipError):
    """The engine's queue is full; try again later."""


class EngineClosed(ClipError):
    """The engine is closing or closed and accepts no more work."""


class EncodingFailed(ClipError):
    """One input failed even alone in its batch, because of the input or the machine; trying again may help."""


class InvalidCheckpoint(ValueError):
    """The weights are broken or of another kind. The message is a clause; `open_checkpoint` adds the model's name."""
