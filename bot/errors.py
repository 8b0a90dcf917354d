"""Magpie's own errors. Messages are one sentence for the person who can act on them."""

from __future__ import annotations


class MagpieError(Exception):
    """The root of the bot's errors."""


class StartupError(MagpieError):
    """The bot cannot start as configured. `python -m bot` prints the message and exits with code 2."""


class ImageGone(MagpieError):
    """The message or its image no longer exists: forget it."""


class ImageForbidden(MagpieError):
    """The bot may not read the message any more: park it, do not ask again."""


class ImageUnreachable(MagpieError):
    """Discord or its CDN did not give the image this time: try again later."""


class ImageTooLarge(MagpieError):
    """More bytes than MAX_IMAGE_BYTES allows: park it."""
