"""Metrics counted where things happen, in prometheus_client's default registry. docs/operating.md describes each one.

Label values come from fixed lists: no ids, no text by users. Counters with labels start at zero for every value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from statistics import median
from time import monotonic

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from clipcore.engine.engine import ClipEngine
from clipcore.engine.executor import BatchReport
from clipcore.engine.scheduling import Kind
from clipcore.types import Lane

KINDS = tuple(kind.value for kind in Kind)
LANES = tuple(lane.name.lower() for lane in Lane)
QUERY_KINDS = ("words", "likeness")

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)


def _counter(name: str, description: str, **labels: Sequence[str]) -> Counter:
    counter = Counter(f"magpie_{name}", description, tuple(labels))
    for values in product(*labels.values()) if labels else ():
        counter.labels(*values)
    return counter


def _histogram(name: str, description: str, buckets: Sequence[float], **labels: Sequence[str]) -> Histogram:
    histogram = Histogram(f"magpie_{name}", description, tuple(labels), buckets=buckets)
    for values in product(*labels.values()) if labels else ():
        histogram.labels(*values)
    return histogram


# -- indexing

IMAGES_ACCEPTED = _counter("images_accepted", "New images stored as pending")
IMAGES_FORGOTTEN = _counter("images_forgotten", "Images deleted from the store")
IMAGE_ATTEMPTS = _counter(
    "image_attempts",
    "Attempts to index an image, by outcome",
    # returned: released for a later attempt, at no cost to the image; gone: deleted in the meantime
    outcome=("finished", "postponed", "parked", "returned", "gone"),
)
IMAGE_CONTENTS = _counter(
    "image_contents", "Where the embedding of a file came from", source=("model", "memory", "store")
)
EMBEDDINGS_DAMAGED = _counter(
    "embeddings_damaged", "Stored embeddings that were damaged; their images are encoded again"
)
IMAGE_TEXTS = _counter(
    "image_texts",
    "Images whose words were to be recognized, by outcome",
    # copied: from another post of the same file
    outcome=("recognized", "copied", "postponed", "parked", "gone"),
)
INFERENCE_BATCH_SIZE = _histogram("inference_batch_size", "Inputs in one batch", _BATCH_SIZES, kind=KINDS, lane=LANES)
INFERENCE_BATCH_SECONDS = _histogram(
    "inference_batch_seconds", "The device's time for one batch", _SHORT_S, kind=KINDS, lane=LANES
)

# -- search

ANSWERS = _counter(
    "answers",
    "Searches, by kind of query and result",
    asked=QUERY_KINDS,
    # nothing_readable: there was no image that the asker may see; unreachable: Discord did not answer when the matches
    # were looked up; busy: the inference queue was full
    result=("answered", "nothing_alike", "nothing_readable", "unreachable", "busy"),
)
ANSWER_SECONDS = _histogram(
    "answer_seconds", "From a query to all of the matches that are shown", _LONG_S, asked=QUERY_KINDS
)
INDEX_LOAD_SECONDS = _histogram("index_load_seconds", "Loading one server's embeddings into memory", _LONG_S)
INDEX_SEARCH_SECONDS = _histogram("index_search_seconds", "One search of a server's embeddings", _SHORT_S)

# -- store, event loop, Discord

STORE_WRITE_SECONDS = _histogram("store_write_seconds", "One write transaction, from its begin to its commit", _SHORT_S)
STORE_FAILURES = _counter(
    "store_failures",
    "Transactions that failed",
    # busy: another process held the database; unusable: the file or its disk is damaged, full or read-only
    reason=("busy", "unusable"),
)
EVENT_LOOP_LAG_SECONDS = _histogram("event_loop_lag_seconds", "How late the event loop is", _SHORT_S)
COMMAND_SECONDS = Histogram("magpie_command_seconds", "From a command to its reply", ("command",), buckets=_LONG_S)
COMMANDS_FAILED = Counter("magpie_commands_failed", "Commands that failed", ("command",))
GATEWAY_CONNECTIONS = _counter("gateway_connections", "Gateway sessions started or resumed", kind=("new", "resumed"))
GATEWAY_DISCONNECTS = _counter("gateway_disconnects", "Lost connections to Discord's gateway")


# -- what people are told without a monitoring system


class Recent:
    """The last events and what was measured of each, for /magpie status: Prometheus keeps no time of its own.

    most: events that are kept. over_s: how long.
    """

    def __init__(self, *, most: int = 1_000, over_s: float = 300.0, clock: Callable[[], float] = monotonic) -> None:
        self._events: deque[tuple[float, float]] = deque(maxlen=most)
        self._over_s = over_s
        self._clock = clock
        self._began = clock()

    def note(self, value: float = 1.0) -> None:
        self._events.append((self._clock(), value))

    def per_minute(self) -> float:
        """How many events there were in a minute; since the start, where that is nearer."""
        kept, now = self._kept(), self._clock()
        since = max(self._began, now - self._over_s)
        if len(kept) == self._events.maxlen:
            since = max(since, kept[0][0])
        return 60 * len(kept) / max(1.0, now - since)

    def median(self) -> float | None:
        """None where there was none lately."""
        kept = self._kept()
        return median(value for _, value in kept) if kept else None

    def _kept(self) -> list[tuple[float, float]]:
        since = self._clock() - self._over_s
        return [event for event in self._events if event[0] >= since]


RECENT_IMAGES = Recent()
"""Images that were indexed, in all servers."""
RECENT_ANSWERS = Recent()
"""Searches, with their seconds."""


def observe_batch(report: BatchReport) -> None:
    """Called on the inference thread."""
    labels = (report.kind, report.lane.name.lower())
    INFERENCE_BATCH_SIZE.labels(*labels).observe(report.size)
    INFERENCE_BATCH_SECONDS.labels(*labels).observe(report.seconds)


# -- gauges, read at each scrape: whoever owns the value sets the function that reads it

IMAGES_PENDING = Gauge("magpie_images_pending", "Pending images, those being indexed included")
IMAGES_IN_HAND = Gauge("magpie_images_in_hand", "Images that are being indexed")
DELETIONS_OWED = Gauge("magpie_deletions_owed", "Deletions that the database has not done yet")
INFERENCE_QUEUE_LENGTH = Gauge(
    "magpie_inference_queue_length", "Decoded images and texts that wait for the device", ("lane",)
)
INFERENCE_BUSY_SECONDS = Gauge("magpie_inference_busy_seconds", "Age of the running batch; 0 when the device is idle")
INFERENCE_FAILED_BATCHES = Gauge(
    "magpie_inference_failed_batches",
    "Batches that failed since the last one that did not",
    ("kind",),
)
PROMPT_VECTORS_KEPT = Gauge("magpie_prompt_vectors_kept", "Embeddings of labels' prompts in memory")
INDEX_SERVERS = Gauge("magpie_index_servers", "Servers whose embeddings are in memory")
INDEX_ROWS = Gauge("magpie_index_rows", "Embeddings in memory")
INDEX_BYTES = Gauge("magpie_index_bytes", "Memory that is allocated for embeddings")
SUCCESSOR_DONE = Gauge("magpie_successor_images_done", "Images that a model has encoded that is to take over")
SUCCESSOR_TOTAL = Gauge("magpie_successor_images", "Images that it has to encode; 0 without such a model")
STORE_LOG_BYTES = Gauge("magpie_store_log_bytes", "Size of the database's write-ahead log")
EVENT_LOOP_RECENT_LAG_SECONDS = Gauge(
    "magpie_event_loop_recent_lag_seconds", "The greatest lag of the last ten seconds"
)
GATEWAY_CONNECTED = Gauge("magpie_gateway_connected", "1 while every shard is connected to Discord's gateway")
GATEWAY_LATENCY_SECONDS = Gauge(
    "magpie_gateway_latency_seconds", "From a heartbeat to Discord's acknowledgement; the mean of all shards"
)


class _PromptCache(Collector):
    """A counter that the engine keeps itself."""

    engine: ClipEngine | None = None

    def collect(self) -> Iterator[Metric]:
        prompts = CounterMetricFamily(
            "magpie_prompt_vectors", "Where the embedding of a label's prompt came from", labels=["source"]
        )
        prompts.add_metric(["memory"], self.engine.prompts_cached if self.engine is not None else 0)
        prompts.add_metric(["model"], self.engine.prompts_encoded if self.engine is not None else 0)
        yield prompts


_PROMPT_CACHE = _PromptCache()
REGISTRY.register(_PROMPT_CACHE)


def watch_engine(engine: ClipEngine) -> None:
    """Reads the gauges of inference from this engine."""
    for lane in Lane:
        INFERENCE_QUEUE_LENGTH.labels(lane.name.lower()).set_function(partial(engine.executor.waiting, lane))
    for kind in Kind:
        INFERENCE_FAILED_BATCHES.labels(kind.value).set_function(
            partial(engine.executor.failed_batches.__getitem__, kind)
        )
    INFERENCE_BUSY_SECONDS.set_function(lambda: engine.executor.busy_seconds)
    PROMPT_VECTORS_KEPT.set_function(lambda: engine.prompts_kept)
    _PROMPT_CACHE.engine = engine
