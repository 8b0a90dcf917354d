"""Every text that members read, as fields that each language fills in. Names in braces are filled in at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import discord
from babel import Locale, UnknownLocaleError
from babel.numbers import format_decimal

from bot.models import (
    Asked,
    BackfillMode,
    BackfillState,
    MemberWish,
    RepostKind,
    RepostNotice,
    SetupStep,
    Sort,
    Strength,
    TaggingMode,
)


class Counted:
    """A text about a number, in every plural form that its language has.

    forms: by the names of Unicode's plural rules, such as `one` and `other`. Each may use {count}, which is written as
    the language writes numbers.
    """

    def __init__(self, language: str, **forms: str) -> None:
        self._locale = Locale.parse(language)
        self.forms = forms

    @property
    def plural_forms(self) -> frozenset[str]:
        """Those that the language has."""
        return frozenset({"other", *self._locale.plural_form.rules})

    def format(self, count: int, **values: object) -> str:
        form = self.forms.get(self._locale.plural_form(count)) or self.forms["other"]
        return form.format(count=format_decimal(count, locale=self._locale), **values)


@dataclass(frozen=True, slots=True)
class SearchTexts:
    query: str  # {query}
    pictures: str
    similar: str
    found: Counted
    more_than: Counted
    places: str  # {first} {last}
    no_matches: Mapping[Asked, str]
    hint_other_words: str
    hint_limits: str
    hint_nearest: str
    hint_script: str  # {languages}
    hint_first_answer: str
    these_are_nearest: str
    nothing_to_search: str
    matches_unreachable: str
    more_unreachable: Counted
    unverified: str
    channel_empty: str
    posted: str  # {author} {channel} {when}
    strengths: Mapping[Strength, str]
    copies: Counted
    alike: Counted
    written: str
    copies_once: str
    copies_each: str
    no_tags: str
    open_message: str
    picture_number: str  # {number}
    more_like_this: str
    previous_page: str
    next_page: str
    list_view: str
    gallery_view: str
    show_near_copies: str
    fold_near_copies: str
    show_nearest: str
    expired: str
    image_alt: str  # {tags}
    image_alt_without_tags: str
    image_alt_spoiler: str
    only_public: str
    may_not_share: str
    in_channel: str  # {channel}
    by_author: str  # {author}
    since: str  # {date}
    until: str  # {date}
    with_tag: str  # {tag}
    like_image: str
    without: str  # {what}
    sorted_by: Mapping[Sort, str]
    unreadable_date: str  # {typed}
    understood_date: str  # {typed} {date}
    often_wanted_dates: tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class QueryImageTexts:
    exactly_one: str
    not_a_message_link: str
    message_not_found: str
    message_without_image: str
    unusable: str
    too_large: str  # {megabytes}
    too_many_pixels: str  # {pixels}
    unreachable: str
    reply_to_an_image: str
    which_one: str
    choose: str


@dataclass(frozen=True, slots=True)
class TaggingTexts:
    mode_set: str  # {channel} {mode}
    modes: Mapping[TaggingMode, str]  # also the choices of /tagging: at most 100 characters
    set_where: str
    everywhere: str  # {mode}
    everywhere_else: str  # {mode}
    more_channels: Counted


@dataclass(frozen=True, slots=True)
class ImageTagTexts:
    heading: str
    heading_of: str  # {number} {count}
    none: str
    confirmed: str
    scale: str
    alt: str
    remove: str
    confirm: str
    add: str
    name: str
    name_hint: str
    picture: str  # {number} {count}
    not_indexed: str
    too_many: str


@dataclass(frozen=True, slots=True)
class RepostTexts:
    modes: Mapping[RepostNotice, str]
    within: Counted  # {count} days
    everywhere: str
    everywhere_else: str
    exempt: str  # {role}
    not_exempt: str  # {role}
    exempt_roles: str  # {roles}
    # the notices
    kinds: Mapping[RepostKind, str]  # {when} {link}
    numbered: str  # {number} {sentence}
    allow: str
    allowed: str


@dataclass(frozen=True, slots=True)
class LabelTexts:
    # /labels list
    of_server: str
    of_channel: str  # {channel}
    own_heading: Counted
    set_heading: Counted  # {name}
    without_heading: Counted
    no_labels: str
    prompts: Counted
    from_score: str  # {score}
    elsewhere: Counted  # {channels}
    show_of: str
    server: str
    retagging: Counted  # {done}
    retagging_soon: str
    page: str  # {page} {pages}
    previous: str
    next: str
    sets: Mapping[str, str]  # also the choices of /labels use: at most 100 characters
    languages: Mapping[str, str]  # also the choices of /labels add
    imports: Mapping[str, str]  # also the choices of /labels import
    # changes
    added: str  # {label} {where}
    changed: str  # {label} {where}
    removed: str  # {label} {where}
    used: Counted  # {where}
    imported: Counted  # {where}
    exported: Counted  # {where}
    in_server: str
    in_channel: str  # {channel}
    tagged_again: str
    clear_ask: str  # {where}
    clear: str
    cleared: str  # {where}
    reset_ask: str
    reset_channel_ask: str  # {channel}
    reset: str
    reset_done: str
    reset_channel_done: str  # {channel}
    # /labels test
    test_heading: str  # {where}
    test_line: str  # {label} {score} {needed}
    test_nothing_given: str
    test_more: Counted
    # refusals
    problems: Mapping[str, str]  # {value} {limit} {first}
    on_line: str  # {line} {sentence}


@dataclass(frozen=True, slots=True)
class OverviewTexts:
    tags: Counted
    no_tags: str
    more: Counted
    find_by_tag: str
    chart_alt: str  # {tags}


@dataclass(frozen=True, slots=True)
class MapTexts:
    newest: Counted
    all: Counted
    alt: str  # {groups}
    unnamed: str
    no_spoilers: str
    missing: Counted
    too_few: str
    unreachable: str


@dataclass(frozen=True, slots=True)
class PrivacyTexts:
    explained: str
    kept_here: Counted
    kept_everywhere: Counted
    opted_out: str
    export: str
    exported: Counted
    export_too_large: str
    delete: str
    delete_ask: str
    deleted: Counted
    opt_out: str
    opt_out_ask: str
    opted_out_now: Counted
    opt_in: str
    opted_in_now: str
    back: str
    waits: str


@dataclass(frozen=True, slots=True)
class MentionTexts:
    help: str
    more_help: str
    unknown: str
    first_of_several: str


@dataclass(frozen=True, slots=True)
class HelpTexts:
    introduction: str
    for_everybody: str
    menu: str  # {name}
    with_permission: str  # {permission}


@dataclass(frozen=True, slots=True)
class BackfillTexts:
    nothing_to_read: str
    already_running: str
    began_here: str
    server: str
    heading: Mapping[BackfillState, str]  # {place}
    modes: Mapping[BackfillMode, str]  # also the choices of /magpie index
    listing: str
    counts: str  # {found} {done} {waiting} {failed}
    messages: Counted
    messages_expected: Counted  # {messages}
    rate: Counted
    left: str  # {time}
    took: str  # {time}
    channels: Counted  # {read}
    refused: Counted
    later: Counted
    reads_history: str
    waits_for_discord: str
    server_paused: str
    pause: str
    resume: str
    cancel: str


@dataclass(frozen=True, slots=True)
class ForgettingTexts:
    channel_ask: Counted  # {channel}
    server_ask: Counted
    member_ask: Counted  # {member}
    leave_out_ask: Counted  # {member}
    message_ask: Counted  # {link}
    wishes: Mapping[MemberWish, str]  # also the choices of /magpie forget member
    forget: Counted  # of a button: at most 80 characters
    leave_out: str
    only_one: str
    picture: str  # {number} {tags}
    done: Counted
    waits: str
    member_let_in: str  # {member}
    member_not_out: str  # {member}


@dataclass(frozen=True, slots=True)
class SettingsTexts:
    heading: str
    this_server: str
    server_on: str
    server_paused: str
    new_channels_on: str
    new_channels_off: str
    index_new: str
    leave_out_new: str
    words_read: str
    words_not_read: str
    read_words: str
    forget_words: str
    kept_for_good: str
    kept_days: Counted
    as_server: str
    off_in: str  # {channels}
    kept_otherwise_in: str  # {channels}
    hidden: Counted
    left_out: str  # {members}
    and_more: Counted
    elsewhere: str
    choose_channel: str
    choose_days: str
    for_good: str
    days: Counted
    like_server: str
    channel_on: str
    channel_off: str
    announced: str  # {mode}
    pictures: Counted
    switch_on: str
    switch_off: str
    expire_ask: Counted  # {place} {days}
    expire: Counted  # of a button: at most 80 characters
    back: str


@dataclass(frozen=True, slots=True)
class StatusTexts:
    heading: str
    searchable: Counted
    waiting: Counted
    time_left: str  # {time}
    given_up: Counted  # {reasons}
    reason: str  # {reason} {count}
    reasons: Mapping[str, str]  # by the keys that the store keeps
    reason_unexpected: str
    being_compared: Counted
    unread: Counted
    by_channel: str  # {channels}
    channel: str  # {channel} {count}
    more_channels: Counted
    elsewhere: Counted
    unreadable: str
    lacks: str  # {channel} {permissions}
    unreadable_elsewhere: Counted
    all_readable: str
    next_model: str  # {percent}
    model: str  # {model} {device}
    on_cpu: str
    on_gpu: str
    rate: Counted
    query_time: str  # {milliseconds}
    shared: str
    growth_alt: str  # {first} {last} {total} {recent}
    refresh: str


@dataclass(frozen=True, slots=True)
class SetupTexts:
    heading: str  # {step} {steps} {title}
    titles: Mapping[SetupStep, str]
    applied: str
    all_rights: str
    some_rights: str
    right: str  # {permission} {use} {where}
    uses: Mapping[str, str]  # of permissions, by discord.py's names
    everywhere: str
    hidden: Counted
    channels_ask: str
    choose_off: str
    too_many_off: str
    tags_ask: str
    choose_mode: str
    choose_where: str
    labels_ask: str
    choose_sets: str
    earlier_ask: str
    start: Mapping[BackfillMode, str]  # of buttons: at most 80 characters
    has_begun: str
    done: str
    back: str
    next: str
    check_again: str
    to_status: str


@dataclass(frozen=True, slots=True)
class PauseTexts:
    paused: str
    resumed: str
    already_paused: str
    not_paused: str


@dataclass(frozen=True, slots=True)
class ErrorTexts:
    store_failed: str
    not_yours: str
    outdated: str
    needs_permission: str  # {permission}
    permissions: Mapping[str, str]  # by discord.py's names, as Discord's clients call them
    only_in_servers: str
    on_cooldown: str  # {seconds}
    busy: str
    took_too_long: str
    unknown_channel: str
    invalid_option: str
    failed: str  # {id}


@dataclass(frozen=True, slots=True)
class Texts:
    """One section for each feature. language: as Babel calls it, for numbers, dates and times."""

    language: str
    search: SearchTexts
    query_image: QueryImageTexts
    tagging: TaggingTexts
    labels: LabelTexts
    image_tags: ImageTagTexts
    reposts: RepostTexts
    overview: OverviewTexts
    map: MapTexts
    privacy: PrivacyTexts
    mentions: MentionTexts
    help: HelpTexts
    backfill: BackfillTexts
    forgetting: ForgettingTexts
    pause: PauseTexts
    status: StatusTexts
    setup: SetupTexts
    settings: SettingsTexts
    errors: ErrorTexts

    def number(self, number: int) -> str:
        return format_decimal(number, locale=self.language)


@dataclass(frozen=True, slots=True)
class Language:
    """One language file. locales: those of Discord's clients that are answered in it. commands: the names and
    descriptions of commands and options, by their English wording.
    """

    locales: tuple[discord.Locale, ...]
    texts: Texts
    commands: Mapping[str, str]


def written_number(number: int, texts: Texts) -> str:
    return format_decimal(number, locale=texts.language)


def language_name(code: str, texts: Texts) -> str:
    """A language's name in the language of these texts; its code where that is unknown."""
    try:
        return Locale.parse(code, sep="-").get_display_name(texts.language) or code
    except (UnknownLocaleError, ValueError):
        return code
