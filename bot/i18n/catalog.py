"""What there is to say. Words in braces are filled in by the speaker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texts:
    # results
    found_for_query: str  # {count} {query}
    found_alike: str  # {count}
    nothing_alike: str
    nothing_looks_alike: str
    nothing_to_search: str
    match: str  # {percent}
    posted: str  # {author} {channel} {when}
    no_tags: str
    open_message: str
    more_like_this: str
    image_alt: str  # {tags}
    image_alt_without_tags: str
    only_public: str

    # asking for look-alikes
    give_image_or_message: str
    not_a_link_here: str
    message_not_found: str
    message_without_image: str
    image_unusable: str
    image_too_large: str  # {megabytes}
    image_too_many_pixels: str  # {pixels}
    image_unreachable: str
    reply_to_an_image: str
    channel_empty: str

    # announcements and labels
    tagging_set: str  # {channel} {mode}
    mode_off: str
    mode_silent: str
    mode_reaction: str
    mode_reply: str
    announced_tags: str  # {tags}
    labels_default: str  # {count} {labels}
    labels_own: str  # {count} {labels}
    label_added: str  # {label}
    label_known: str  # {label}
    label_removed: str  # {label}
    label_unknown: str  # {label}
    label_bad: str  # {most}
    labels_full: str  # {most}
    labels_reset: str

    # privacy
    privacy: str
    forget_me_ask: str
    forget_me_confirm: str
    forget_me_done: str  # {count}
    not_your_button: str

    # refusals
    needs_manage_server: str
    only_in_servers: str
    too_fast: str  # {seconds}
    busy: str
    unknown_channel: str
    unknown_option: str
    went_wrong: str  # {id}
