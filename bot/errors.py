"""Magpie's own errors. Messages are one sentence for the person who can act on them."""

from __future__ import annotations


class MagpieError(Exception):
    """The base of the bot's errors."""


class StartupError(MagpieError):
    """The bot cannot start as configured. `python -m bot` prints the message and exits with code 2."""


# -- the store failed; every other error of a statement is a bug and passes through


class StoreError(MagpieError):
    """The transaction failed and changed nothing."""


class StoreBusy(StoreError):
    """Another process held the database for longer than the busy timeout. A retry may succeed."""


class StoreUnusable(StoreError):
    """The database or its disk fails. No retry succeeds until an operator has acted."""


# -- an image cannot be downloaded


class ImageGone(MagpieError):
    """The message or its image no longer exists: delete what is stored of it."""


class ImageForbidden(MagpieError):
    """The bot may not read the message now."""


class ImageUnreachable(MagpieError):
    """Discord or its CDN did not deliver the image: retry later."""


class ImageTooLarge(MagpieError):
    """The file has more than MAX_IMAGE_BYTES: do not retry."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the file has more than {max_bytes} bytes")
        self.max_bytes = max_bytes


# -- a backfill cannot use Discord's message search


class SearchNotReady(MagpieError):
    """Discord has not indexed the server's messages yet: ask again later."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Discord is indexing the server's messages; ask again in {seconds:.0f} s")
        self.seconds = seconds


class SearchUnavailable(MagpieError):
    """Discord does not let the bot search: read the history instead."""


# -- a member's query cannot be answered; the bot tells them why


class InvalidMessageLink(MagpieError):
    """Not a link to a message of this server."""


class MessageNotFound(MagpieError):
    """The message does not exist, or the member may not see it: which of the two is not disclosed."""


class ChannelNotFound(MagpieError):
    """The channel does not exist, or the member may not see it: which of the two is not disclosed."""


class MessageWithoutImage(MagpieError):
    """The message carries no image that can be read."""


class ExportTooLarge(MagpieError):
    """A member's data does not fit into a file that Discord takes."""


class UnreadableDate(MagpieError):
    """What was given as a date is none. typed: as it may be shown."""

    def __init__(self, typed: str) -> None:
        super().__init__("not a date")
        self.typed = typed


class NotYours(MagpieError):
    """The button or menu belongs to another member's answer."""


class TookTooLong(MagpieError):
    """The answer was not ready in time."""


class TooManyTags(MagpieError):
    """Members have decided about as many tags of this image as the store keeps."""


class MayNotShare(MagpieError):
    """The member or the bot may not write where an answer was to be shared."""


class NotAReply(MagpieError):
    """The bot was mentioned with "similar", without a picture and not in a reply to a message."""
