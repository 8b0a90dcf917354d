"""Every text that members read, as fields that each language fills in. Names in braces are filled in at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.models import TaggingMode


@dataclass(frozen=True, slots=True)
class Texts:
    # search results
    found_for_query: str  # {count} {query}
    similar_found: str  # {count}
    no_matches: str
    no_similar: str
    nothing_to_search: str
    matches_unreachable: str
    more_unreachable: str  # {count}
    unverified: str
    channel_empty: str
    posted: str  # {author} {channel} {when}
    no_tags: str
    open_message: str
    more_like_this: str
    image_alt: str  # {tags}
    image_alt_without_tags: str
    image_alt_spoiler: str
    only_public: str

    # query images
    one_query_image: str
    not_a_message_link: str
    message_not_found: str
    message_without_image: str
    image_unusable: str
    image_too_large: str  # {megabytes}
    image_too_many_pixels: str  # {pixels}
    image_unreachable: str
    reply_to_an_image: str

    # tagging
    tagging_set: str  # {channel} {mode}
    tagging_modes: Mapping[TaggingMode, str]  # also the choices of /tagging: at most 100 characters
    labels_default: str  # {count} {labels}
    labels_own: str  # {count} {labels}
    label_added: str  # {label}
    label_exists: str  # {label}
    label_removed: str  # {label}
    label_unknown: str  # {label}
    label_invalid: str  # {max}
    labels_full: str  # {max}
    labels_reset: str

    # privacy
    privacy: str
    forget_me_ask: str
    forget_me_confirm: str
    forget_me_done: str  # {count}
    forget_me_waits: str
    store_failed: str
    not_your_button: str

    # errors
    needs_manage_server: str
    only_in_servers: str
    on_cooldown: str  # {seconds}
    busy: str
    took_too_long: str
    unknown_channel: str
    invalid_option: str
    failed: str  # {id}
