"""/labels: which labels a server's pictures are tagged with, for the whole server and for single channels."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.discord_io.answers import DeferringCog, Interaction, answer, answer_with_file, sentence_view
from bot.discord_io.components import ActionButton, Press, View
from bot.discord_io.messages import ImageChannel, channel_ref
from bot.discord_io.permissions import asker_of, audience_of, guild_id_of, managed_guild, may_view, needs_manage_guild
from bot.features.formatting import plain, short_plain, visible
from bot.features.labels_view import LabelsShown, labels_view, score_lines, score_table
from bot.features.query_image import linked_message
from bot.i18n import CHINESE, ENGLISH, Texts, texts_for
from bot.indexing.label_edits import (
    LIMITS,
    NO_LABELS,
    LabelsRefused,
    Problem,
    own_label,
    split_prompts,
    with_imported,
    with_label,
    with_shipped,
    without_label,
)
from bot.indexing.label_files import MAX_FILE_BYTES, read_labels, write_labels
from bot.indexing.tag_scores import HIGHEST, LOWEST
from bot.label_names import label_key
from bot.models import ChannelRef, RemoteImage, Source
from bot.store.labels import Edit, GuildLabels, LabelSet

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MAX_SUGGESTIONS = 25  # Discord's limit on autocomplete
_LONGEST_OPTION = 1000

_SETS = [app_commands.Choice(name=text, value=name) for name, text in ENGLISH.labels.sets.items()]
_LANGUAGES = [app_commands.Choice(name=text, value=code) for code, text in ENGLISH.labels.languages.items()]
_IMPORTS = [app_commands.Choice(name=text, value=how) for how, text in ENGLISH.labels.imports.items()]
_NONE, _MERGE = "none", "merge"


class LabelsCog(DeferringCog, name="labels"):
    labels = app_commands.Group(
        name="labels",
        description="The labels that this server's pictures are tagged with",
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._bot.actions.add(
            labels_page=self._show_page,
            labels_of=self._show_chosen,
            labels_clear=partial(self._clear_or_reset, clear=True),
            labels_reset=partial(self._clear_or_reset, clear=False),
        )

    @labels.command(name="list", description="See which labels are in use, and where")
    @app_commands.describe(channel="The labels that apply in this channel; by default, those of the server")
    @needs_manage_guild
    async def list_labels(self, interaction: Interaction, channel: ImageChannel | None = None) -> None:
        await interaction.edit_original_response(view=await self._page(interaction, _id(channel), 0))

    @labels.command(name="add", description="Add a label, or change one of that name")
    @app_commands.describe(
        label="One or a few words",
        prompts="What such a picture shows, in phrases with ; between them",
        threshold="The score from 1 to 99 that a picture needs; 50 is usual, more is stricter",
        language="Readers of this language see the tag first",
        channel="Only for this channel and its threads",
    )
    @app_commands.choices(language=_LANGUAGES)
    @needs_manage_guild
    async def add_label(
        self,
        interaction: Interaction,
        label: app_commands.Range[str, 1, _LONGEST_OPTION],
        prompts: app_commands.Range[str, 1, _LONGEST_OPTION] | None = None,
        threshold: app_commands.Range[int, LOWEST, HIGHEST] | None = None,
        language: app_commands.Choice[str] | None = None,
        channel: ImageChannel | None = None,
    ) -> None:
        texts, shipped = texts_for(interaction.locale), self._bot.services.shipped
        async with refused(interaction):
            made = own_label(label, split_prompts(prompts or ""), threshold, "" if language is None else language.value)
            existed: list[bool] = []

            def edit(chosen: LabelSet) -> LabelSet:
                existed.append(any(label_key(one.name) == label_key(made.name) for one in shipped.in_force(chosen)))
                return with_label(chosen, made, shipped)

            await self._change(interaction, _place(interaction, channel), edit)
            sentence = texts.labels.changed if existed[-1] else texts.labels.added
            await self._tell(interaction, sentence.format(label=plain(made.name), where=_where(texts, _id(channel))))

    @labels.command(name="remove", description="Remove a label")
    @app_commands.describe(label="One or a few words", channel="Only for this channel and its threads")
    @needs_manage_guild
    async def remove_label(
        self,
        interaction: Interaction,
        label: app_commands.Range[str, 1, _LONGEST_OPTION],
        channel: ImageChannel | None = None,
    ) -> None:
        texts = texts_for(interaction.locale)
        async with refused(interaction):
            removed: list[str] = []

            def edit(chosen: LabelSet) -> LabelSet:
                changed, name = without_label(chosen, label, self._bot.services.shipped)
                removed.append(name)
                return changed

            await self._change(interaction, _place(interaction, channel), edit)
            where = _where(texts, _id(channel))
            await self._tell(interaction, texts.labels.removed.format(label=plain(removed[-1]), where=where))

    @remove_label.autocomplete("label")
    async def _suggest_labels(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        if interaction.guild_id is None or not interaction.permissions.manage_guild:
            return []
        services, chinese = self._bot.services, texts_for(interaction.locale) is CHINESE
        chosen = await services.labels.of_guild(interaction.guild_id)
        channel_id = getattr(interaction.namespace.channel, "id", None)
        here = None if channel_id is None else _place_of(interaction.guild, channel_id)
        names = [
            (label.name, services.tag_formatter.name(label.name, chinese=chinese))
            for label in services.shipped.in_force(chosen.of(here))
        ]
        key = label_key(typed)
        matching = [both for both in names if any(key in label_key(name) for name in both)]
        matching.sort(key=lambda both: not any(label_key(name).startswith(key) for name in both))
        return [
            app_commands.Choice(name=visible(shown) or name, value=name) for name, shown in matching[:_MAX_SUGGESTIONS]
        ]

    @labels.command(name="use", description="Choose a set of labels that comes with me")
    @app_commands.rename(chosen="set")
    @app_commands.describe(
        chosen="The set; labels of your own stay",
        together="Together with the sets that are in use already",
        channel="Only for this channel and its threads",
    )
    @app_commands.choices(chosen=_SETS)
    @needs_manage_guild
    async def use_set(
        self,
        interaction: Interaction,
        chosen: app_commands.Choice[str],
        together: bool = False,
        channel: ImageChannel | None = None,
    ) -> None:
        texts, shipped = texts_for(interaction.locale), self._bot.services.shipped
        name, place = None if chosen.value == _NONE else chosen.value, _place(interaction, channel)
        async with refused(interaction):
            now = await self._change(
                interaction, place, lambda before: with_shipped(before, name, shipped, together=together)
            )
            count = len(shipped.in_force(now.of(place)))
            await self._tell(interaction, texts.labels.used.format(count, where=_where(texts, _id(channel))))

    @labels.command(name="import", description="Read labels from a file")
    @app_commands.describe(
        file="JSON, CSV with a first row of names, or one label a line; at most 256 KB",
        how="Whether the labels that there are stay",
        channel="Only for this channel and its threads",
    )
    @app_commands.choices(how=_IMPORTS)
    @needs_manage_guild
    async def import_labels(
        self,
        interaction: Interaction,
        file: discord.Attachment,
        how: app_commands.Choice[str] | None = None,
        channel: ImageChannel | None = None,
    ) -> None:
        texts, services, place = texts_for(interaction.locale), self._bot.services, _place(interaction, channel)
        async with refused(interaction):
            if file.size > MAX_FILE_BYTES:
                raise LabelsRefused(Problem.TOO_LARGE)
            data = await services.downloader.download(
                RemoteImage(Source.ATTACHMENT, file.id, file.url, file.size), MAX_FILE_BYTES
            )
            read = await asyncio.to_thread(read_labels, data, services.shipped)
            merge = how is None or how.value == _MERGE
            now = await self._change(
                interaction, place, lambda before: with_imported(before, read, services.shipped, merge=merge)
            )
            count = len(services.shipped.in_force(now.of(place)))
            await self._tell(interaction, texts.labels.imported.format(count, where=_where(texts, _id(channel))))

    @labels.command(name="export", description="Get the labels as a file")
    @app_commands.describe(channel="The labels that apply in this channel; by default, those of the server")
    @needs_manage_guild
    async def export_labels(self, interaction: Interaction, channel: ImageChannel | None = None) -> None:
        texts = texts_for(interaction.locale)
        chosen = (await self._bot.services.labels.of_guild(guild_id_of(interaction))).of(_place(interaction, channel))
        file = discord.File(io.BytesIO(write_labels(chosen)), "labels.json")
        sentence = texts.labels.exported.format(len(chosen.own), where=_where(texts, _id(channel)))
        await answer_with_file(interaction, sentence, file)

    @labels.command(name="test", description="See what every label would score for a picture")
    @app_commands.describe(
        image="The picture",
        message="A link to a message with a picture",
        channel="The labels that apply in this channel; by default, where the picture is, or here",
    )
    @needs_manage_guild
    async def test_labels(
        self,
        interaction: Interaction,
        image: discord.Attachment | None = None,
        message: app_commands.Range[str, 1, _LONGEST_OPTION] | None = None,
        channel: ImageChannel | None = None,
    ) -> None:
        texts, services = texts_for(interaction.locale), self._bot.services
        if (image is None) == (message is None):
            await answer(interaction, texts.query_image.exactly_one)
            return
        place_id = _id(channel) or interaction.channel_id or 0
        if image is not None:
            query = await services.query_images.from_attachment(asker_of(interaction), image)
        else:
            query = await services.query_images.from_link(
                asker_of(interaction), audience_of(interaction), message or ""
            )
            link = linked_message(message or "")
            place_id = _id(channel) or (place_id if link is None else link[1])
        place = await services.messages.channel(guild_id_of(interaction), place_id)
        scores = await services.tagger.scores(place or ChannelRef(guild_id_of(interaction), place_id), query.embedding)
        if not scores:
            await answer(interaction, texts.labels.no_labels)
            return
        lines = score_lines(scores, services.tag_formatter, texts, _where(texts, place_id))
        lines.append(f"-# {texts.labels.test_more.format(len(scores))}")
        await answer_with_file(
            interaction, "\n".join(lines), discord.File(io.BytesIO(score_table(scores)), "scores.csv")
        )

    @labels.command(name="clear", description="Remove all labels, so that nothing is tagged")
    @app_commands.describe(channel="Only for this channel and its threads")
    @needs_manage_guild
    async def clear_labels(self, interaction: Interaction, channel: ImageChannel | None = None) -> None:
        texts = texts_for(interaction.locale)
        question = texts.labels.clear_ask.format(where=_where(texts, _id(channel)))
        await self._ask(interaction, question, "labels_clear", texts.labels.clear, _id(channel))

    @labels.command(name="reset", description="Go back to the default labels")
    @app_commands.describe(channel="Only for this channel: it uses the server's labels again")
    @needs_manage_guild
    async def reset_labels(self, interaction: Interaction, channel: ImageChannel | None = None) -> None:
        texts = texts_for(interaction.locale).labels
        question = texts.reset_channel_ask.format(channel=f"<#{_id(channel)}>") if channel else texts.reset_ask
        await self._ask(interaction, question, "labels_reset", texts.reset, _id(channel))

    async def _ask(self, interaction: Interaction, question: str, action: str, label: str, channel_id: int) -> None:
        view = sentence_view(question)
        danger = discord.ButtonStyle.danger
        button = ActionButton(action, channel_id, owner=interaction.user.id, label=label, style=danger)
        view.add_item(discord.ui.ActionRow(button))
        await interaction.edit_original_response(view=view)

    async def _clear_or_reset(self, press: Press, *, clear: bool) -> None:
        interaction, texts = press.interaction, texts_for(press.interaction.locale)
        managed_guild(interaction)
        await interaction.response.defer()
        channel_id = int(press.arguments[0])
        place = None if not channel_id else await self._known_place(interaction, channel_id)
        await self._change(interaction, place, lambda _: NO_LABELS if clear else None)
        if clear:
            sentence = texts.labels.cleared.format(where=_where(texts, channel_id))
        elif channel_id:
            sentence = texts.labels.reset_channel_done.format(channel=f"<#{channel_id}>")
        else:
            sentence = texts.labels.reset_done
        await self._tell(interaction, sentence)

    async def _show_page(self, press: Press) -> None:
        channel_id, page = map(int, press.arguments)
        await self._show(press.interaction, channel_id, page)

    async def _show_chosen(self, press: Press) -> None:
        await self._show(press.interaction, int(press.values[0]), 0)

    async def _show(self, interaction: Interaction, channel_id: int, page: int) -> None:
        managed_guild(interaction)
        await interaction.response.defer()
        await interaction.edit_original_response(view=await self._page(interaction, channel_id, page))

    async def _page(self, interaction: Interaction, channel_id: int, page: int) -> View:
        """channel_id: 0 for the server. A channel that the member may not see is as one without labels of its own."""
        services, guild_id = self._bot.services, guild_id_of(interaction)
        chosen = await services.labels.of_guild(guild_id)
        place = None if not channel_id else await self._known_place(interaction, channel_id)
        if place is not None and not may_view(_member(interaction), place):
            place = None
        shown = LabelsShown(
            chosen=chosen.of(place),
            channel_id=0 if place is None else place.channel_id,
            elsewhere=_visible_channels(interaction, chosen.channels),
            progress=await services.retaggings.progress(guild_id),
        )
        texts = texts_for(interaction.locale)
        return labels_view(shown, services.shipped, texts, page, owner=interaction.user.id)

    async def _change(self, interaction: Interaction, place: ChannelRef | None, edit: Edit) -> GuildLabels:
        services, guild_id = self._bot.services, guild_id_of(interaction)
        now = await services.labels.change(guild_id, place, edit)
        await services.retagger.labels_changed(guild_id)
        return now

    async def _tell(self, interaction: Interaction, sentence: str) -> None:
        """That labels have changed, and what follows."""
        texts = texts_for(interaction.locale).labels
        view = sentence_view(f"{sentence}\n-# {texts.tagged_again}")
        await interaction.edit_original_response(view=view)

    async def _known_place(self, interaction: Interaction, channel_id: int) -> ChannelRef | None:
        """None where Discord does not know it any more."""
        known = _place_of(interaction.guild, channel_id)
        return known or await self._bot.services.messages.channel(guild_id_of(interaction), channel_id)


@asynccontextmanager
async def refused(interaction: Interaction) -> AsyncIterator[None]:
    """Says why labels are refused; then nothing has changed."""
    try:
        yield
    except LabelsRefused as refusal:
        await answer(interaction, refusal_of(refusal, texts_for(interaction.locale)))


def refusal_of(refused: LabelsRefused, texts: Texts) -> str:
    sentence = texts.labels.problems[refused.problem].format(
        value=short_plain(refused.value), limit=LIMITS.get(refused.problem), first=refused.first
    )
    return sentence if refused.line is None else texts.labels.on_line.format(line=refused.line, sentence=sentence)


def _member(interaction: Interaction) -> discord.Member:
    if not isinstance(interaction.user, discord.Member):
        raise app_commands.NoPrivateMessage
    return interaction.user


def _id(channel: ImageChannel | None) -> int:
    """0 for the server."""
    return 0 if channel is None else channel.id


def _where(texts: Texts, channel_id: int) -> str:
    return texts.labels.in_channel.format(channel=f"<#{channel_id}>") if channel_id else texts.labels.in_server


def _place(interaction: Interaction, channel: ImageChannel | None) -> ChannelRef | None:
    """A forum holds no messages itself, but its threads inherit its labels."""
    return None if channel is None else channel_ref(channel) or ChannelRef(guild_id_of(interaction), channel.id)


def _place_of(guild: discord.Guild | None, channel_id: int) -> ChannelRef | None:
    """A channel or thread in discord.py's cache."""
    channel = None if guild is None else guild.get_channel_or_thread(channel_id)
    return None if channel is None else channel_ref(channel) or ChannelRef(channel.guild.id, channel_id)


def _visible_channels(interaction: Interaction, channel_ids: Iterable[int]) -> tuple[tuple[int, str], ...]:
    """Ids and names of those that the member can see."""
    guild, member = interaction.guild, _member(interaction)
    places = [(id_, _place_of(guild, id_)) for id_ in channel_ids]
    seen = [id_ for id_, place in places if place is not None and may_view(member, place)]
    channels = [(id_, guild.get_channel_or_thread(id_) if guild is not None else None) for id_ in seen]
    return tuple((id_, channel.name) for id_, channel in channels if channel is not None)
