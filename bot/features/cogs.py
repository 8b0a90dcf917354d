"""Every feature, in the order in which its commands are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.features.help import HelpCog
from bot.features.image_tags import ImageTagsCog
from bot.features.indexing import IndexingCog
from bot.features.labels import LabelsCog
from bot.features.mentions import MentionsCog
from bot.features.overview import OverviewCog
from bot.features.picture_map import MapCog
from bot.features.privacy import PrivacyCog
from bot.features.reposts import RepostsCog
from bot.features.search import SearchCog
from bot.features.server import ServerCog
from bot.features.similar import SimilarCog
from bot.features.tagging import TagsCog

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_COGS = (
    IndexingCog,
    SearchCog,
    SimilarCog,
    MentionsCog,
    OverviewCog,
    MapCog,
    TagsCog,
    LabelsCog,
    ImageTagsCog,
    RepostsCog,
    ServerCog,
    PrivacyCog,
    HelpCog,
)


async def add_cogs(bot: MagpieBot) -> None:
    for cog in _COGS:
        await bot.add_cog(cog(bot))
