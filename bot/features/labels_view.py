"""How labels are listed, page by page, and what they score for a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import discord

from bot.discord_io.components import ActionButton, ActionMenu, View
from bot.features.formatting import TagFormatter, plain, visible
from bot.i18n import CHINESE, Texts
from bot.i18n.catalog import language_name, written_number
from bot.indexing.labels import LabelInForce, ShippedLabels
from bot.indexing.tagger import ScoredLabel
from bot.label_names import label_key
from bot.store.labels import LabelSet
from bot.store.retagging import Progress

_PAGE_CHARACTERS = 1600  # a laptop's window; a message may have 4000
_MAX_SCORES = 25
_MAX_MENTIONS = 20
_MAX_OPTIONS = 25  # Discord's limit on a menu

Block = tuple[str, Sequence[str], str]
"""A heading, what stands below it, and what stands between its parts."""


@dataclass(frozen=True, slots=True)
class LabelsShown:
    """chosen: the set that applies. channel_id: where; 0 for the server. elsewhere: ids and names of channels that have
    labels of their own.
    """

    chosen: LabelSet
    channel_id: int
    elsewhere: tuple[tuple[int, str], ...]
    progress: Progress | None


def labels_view(shown: LabelsShown, shipped: ShippedLabels, texts: Texts, page: int, *, owner: int) -> View:
    wording = texts.labels
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay("\n".join(_head(shown, texts))))
    pages = list(_pages(_blocks(shown.chosen, shipped, texts))) or [wording.no_labels]
    page = max(0, min(page, len(pages) - 1))
    view.add_item(discord.ui.TextDisplay(pages[page]))
    if len(pages) > 1:
        here = shown.channel_id
        view.add_item(
            discord.ui.ActionRow(
                ActionButton(
                    "labels_page", here, page - 1, owner=owner, label=wording.previous, emoji="◀️", disabled=page == 0
                ),
                ActionButton(
                    *("labels_page", here, page + 1),
                    owner=owner,
                    label=wording.next,
                    emoji="▶️",
                    disabled=page == len(pages) - 1,
                ),
            )
        )
        view.add_item(discord.ui.TextDisplay("-# " + wording.page.format(page=page + 1, pages=len(pages))))
    if shown.elsewhere or shown.channel_id:
        places = [(0, wording.server), *((id_, f"#{name}") for id_, name in shown.elsewhere)]
        options = [
            discord.SelectOption(label=visible(name)[:100], value=str(id_), default=id_ == shown.channel_id)
            for id_, name in places[:_MAX_OPTIONS]
        ]
        view.add_item(
            discord.ui.ActionRow(ActionMenu("labels_of", options=options, owner=owner, placeholder=wording.show_of))
        )
    return view


def score_lines(scores: Sequence[ScoredLabel], names: TagFormatter, texts: Texts, where: str) -> list[str]:
    """The labels that the picture would get, then the next best ones."""
    chinese, wording = texts is CHINESE, texts.labels
    lines = [wording.test_heading.format(where=where)]
    if not any(one.given for one in scores):
        lines.append(wording.test_nothing_given)
    for one in sorted(scores, key=lambda one: not one.given)[:_MAX_SCORES]:
        label = plain(names.name(one.label.name, chinese=chinese))
        line = wording.test_line.format(label=label, score=one.score, needed=one.needed)
        lines.append(f"✅ **{line}**" if one.given else f"▫️ {line}")
    return lines


def score_table(scores: Iterable[ScoredLabel]) -> bytes:
    """CSV for whoever wants to see all of them; its column names are those of `/labels import`, where they are the
    same.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["name", "score", "threshold", "tagged"])
    rows.writerows([one.label.name, one.score, one.needed, "yes" if one.given else "no"] for one in scores)
    return text.getvalue().encode("utf-8-sig")


def _head(shown: LabelsShown, texts: Texts) -> Iterator[str]:
    wording = texts.labels
    yield wording.of_channel.format(channel=f"<#{shown.channel_id}>") if shown.channel_id else wording.of_server
    if shown.progress is not None and shown.progress.total is not None:
        done = written_number(min(shown.progress.done, shown.progress.total), texts)
        yield "-# " + wording.retagging.format(shown.progress.total, done=done)
    elif shown.progress is not None:
        yield "-# " + wording.retagging_soon
    if not shown.channel_id and shown.elsewhere:
        mentions = [f"<#{id_}>" for id_, _ in shown.elsewhere]
        more = " …" if len(mentions) > _MAX_MENTIONS else ""
        yield "-# " + wording.elsewhere.format(len(mentions), channels=" ".join(mentions[:_MAX_MENTIONS]) + more)


def _blocks(chosen: LabelSet, shipped: ShippedLabels, texts: Texts) -> Iterator[Block]:
    """The server's own labels first: those are what its moderators look for."""
    wording = texts.labels
    in_force = {label_key(label.name): label for label in shipped.in_force(chosen)}
    own = [f"- {_own_line(label, texts)}" for label in in_force.values() if label.own]
    if own:
        yield wording.own_heading.format(len(own)), own, "\n"
    for name in chosen.shipped:
        names = []
        for label in shipped.sets.get(name, ()):
            found = in_force.pop(label_key(label.en), None)
            if found is not None and not found.own:
                names.append(f"{label.emoji} {plain(label.zh if texts is CHINESE else label.en)}")
        if names:
            yield wording.set_heading.format(len(names), name=wording.sets.get(name, name)), names, " · "
    if chosen.without:
        yield wording.without_heading.format(len(chosen.without)), [plain(name) for name in chosen.without], " · "


def _own_line(label: LabelInForce, texts: Texts) -> str:
    wording = texts.labels
    details = [wording.prompts.format(len(label.phrases))] if label.phrases else []
    if label.threshold is not None:
        details.append(wording.from_score.format(score=label.threshold))
    if label.language is not None:
        details.append(language_name(label.language, texts))
    return " · ".join((f"**{plain(label.name)}**", *details))


def _pages(blocks: Iterable[Block]) -> Iterator[str]:
    """A block goes on on the next page, below its heading, where it does not fit."""
    page = ""
    for heading, parts, between in blocks:
        begun = False
        for part in parts:
            first = f"**{heading}**\n{part}"
            added = f"{between}{part}" if begun else f"\n\n{first}" if page else first
            if page and len(page) + len(added) > _PAGE_CHARACTERS:
                yield page
                page, added = "", first
            page += added
            begun = True
    if page:
        yield page
