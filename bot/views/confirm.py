"""The question before something is deleted for good."""

from __future__ import annotations

import discord

from bot.texts import Texts
from bot.views.buttons import ConfirmForget


def forget_me_view(user_id: int, texts: Texts) -> discord.ui.LayoutView:
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(texts.forget_me_ask))
    row: discord.ui.ActionRow[discord.ui.LayoutView] = discord.ui.ActionRow()
    row.add_item(ConfirmForget(user_id, texts.forget_me_confirm))
    view.add_item(row)
    return view
