"""The metrics that nobody counts: read from the bot's parts at the moment when somebody looks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bot.discord_io.client import MagpieBot
from bot.indexing.indexer import Indexer
from bot.monitoring.health import GatewayCog, LoopLag
from bot.search.vector_cache import VectorCache
from bot.store.database import Database
from bot.store.images import ImageStore
from clipcore.engine.engine import ClipEngine
from clipcore.types import Lane

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts that are asked."""

    bot: MagpieBot
    engine: ClipEngine
    database: Database
    indexer: Indexer
    vector_cache: VectorCache


class Live(Collector):
    def __init__(self, watched: Watched, gateway: GatewayCog, lag: LoopLag) -> None:
        self._watched = watched
        self._gateway = gateway
        self._lag = lag
        self._pending = math.nan
        self._told = False

    async def refresh(self) -> None:
        """Asks what must be waited for. Not a number: the database did not say."""
        try:
            self._pending = await ImageStore(self._watched.database).count_pending()
            self._told = False
        except Exception as error:  # one number that is not known must not cost all others
            self._pending = math.nan
            if not self._told:  # once, until it works again: somebody looks every few seconds
                log.warning("pending images cannot be counted: %s", type(error).__name__)
            self._told = True

    def collect(self) -> Iterator[Metric]:
        watched = self._watched
        yield _gauge("images_pending", "Images that wait to be read, those in hand included", self._pending)
        yield _gauge("images_in_hand", "Images that are being worked on", watched.indexer.in_hand)
        yield from self._inference()
        usage = watched.vector_cache.usage()
        yield _gauge("index_servers", "Servers whose vectors are in memory", usage.servers)
        yield _gauge("index_rows", "Vectors in memory", usage.rows)
        yield _gauge("index_bytes", "Memory that is kept for vectors", usage.bytes)
        yield _gauge("store_log_bytes", "Size of the database's write-ahead log", watched.database.log_bytes())
        yield _gauge("event_loop_recent_lag_seconds", "The greatest lag of the last ten seconds", self._lag.worst)
        yield _gauge("gateway_connected", "1 while Discord's gateway is connected", self._gateway.connected)
        yield _gauge("gateway_latency_seconds", "Discord's answer to the last heartbeat", watched.bot.latency)

    def _inference(self) -> Iterator[Metric]:
        engine = self._watched.engine
        queues = GaugeMetricFamily(
            "magpie_inference_queue_length", "Decoded images and texts that wait for the device", labels=["lane"]
        )
        for lane in Lane:
            queues.add_metric([lane.name.lower()], engine.waiting(lane))
        yield queues
        yield _gauge(
            "inference_busy_seconds", "How long the device has not answered; 0 when idle", engine.device().busy_seconds
        )
        cache = engine.prompt_cache()
        prompts = CounterMetricFamily(
            "magpie_prompt_vectors", "Where the vector of a label's prompt came from", labels=["source"]
        )
        prompts.add_metric(["memory"], cache.cached)
        prompts.add_metric(["model"], cache.encoded)
        yield prompts
        yield _gauge("prompt_vectors_kept", "Vectors of labels' prompts in memory", cache.kept)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"magpie_{name}", meaning, value=value)
