"""What the features work with. The bot's `services`, set before the first event arrives."""

from __future__ import annotations

from dataclasses import dataclass

from bot.discord_io.messages import Messages
from bot.discord_io.replies import PublicReplies
from bot.features.formatting import TagFormatter
from bot.features.query_image import QueryImages
from bot.indexing.catch_up import CatchUp
from bot.indexing.indexer import Indexer
from bot.indexing.labels import NamedLabel
from bot.indexing.reconcile import ChannelReconciler
from bot.indexing.registry import ImageRegistry
from bot.indexing.tagger import Tagger
from bot.search.service import SearchService
from bot.store.guilds import ChannelStore, LabelStore
from bot.store.images import ImageStore
from clipcore.engine.engine import ClipEngine


@dataclass(frozen=True, slots=True)
class Services:
    """default_labels: those of a guild that has none of its own. query_images: reads the image of a query."""

    engine: ClipEngine
    images: ImageStore
    channels: ChannelStore
    labels: LabelStore
    default_labels: tuple[NamedLabel, ...]
    tag_formatter: TagFormatter
    tagger: Tagger
    registry: ImageRegistry
    indexer: Indexer
    catch_up: CatchUp
    reconciler: ChannelReconciler
    messages: Messages
    replies: PublicReplies
    search: SearchService
    query_images: QueryImages
