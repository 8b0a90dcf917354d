"""The metrics that are counted as things happen. docs/operating.md says what each of them means."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector

from bot.monitoring.events import (
    Accepted,
    Answered,
    Asked,
    Attempted,
    ContentRead,
    ContentSource,
    Event,
    Forgotten,
    IndexLoaded,
    IndexSearched,
    Outcome,
    Result,
    Written,
)
from clipcore.engine.watching import BatchReport
from clipcore.types import Lane

KINDS = ("image", "text")
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
PATIENT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)


class Metrics:
    """One bot's counters, in a registry of their own. Labels are kinds from fixed lists: no ids, no words."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, namespace="magpie", registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, namespace="magpie", buckets=buckets, registry=registry)

        self._accepted = counter("images_accepted", "Images that were new and have been put down as pending")
        self._forgotten = counter("images_forgotten", "Images that were deleted for good")
        attempts = counter("image_attempts", "Attempts at an image, by how they ended", "outcome")
        contents = counter("image_contents", "Where a file's vector came from", "source")
        self._attempts = {outcome: attempts.labels(outcome) for outcome in Outcome}
        self._contents = {source: contents.labels(source) for source in ContentSource}

        sizes = histogram("inference_batch_size", "Inputs in one batch", SIZES, "kind", "lane")
        times = histogram("inference_batch_seconds", "The device's time for one batch", QUICK, "kind", "lane")
        self._batches = {
            (kind, lane): (sizes.labels(kind, lane.name.lower()), times.labels(kind, lane.name.lower()))
            for kind in KINDS
            for lane in Lane
        }

        answers = counter("answers", "Questions that were asked of the images", "asked", "result")
        self._answers = {(asked, result): answers.labels(asked, result) for asked in Asked for result in Result}
        took = histogram("answer_seconds", "From a question to everything that its answer shows", PATIENT, "asked")
        self._answer_seconds = {asked: took.labels(asked) for asked in Asked}

        self._index_loads = histogram("index_load_seconds", "Reading one server's vectors into memory", PATIENT)
        self._index_searches = histogram("index_search_seconds", "One search of a server's vectors", QUICK)
        self._writes = histogram("store_write_seconds", "One write transaction, from its begin to its commit", QUICK)
        self.loop_lag = histogram("event_loop_lag_seconds", "How late the event loop is", QUICK)

        self.commands = histogram("command_seconds", "From a command to its answer", PATIENT, "command")
        self.commands_failed = counter("commands_failed", "Commands that failed", "command")
        self.connections = counter("gateway_connections", "Sessions that began, or were resumed", "kind")
        self.disconnects = counter("gateway_disconnects", "Connections to Discord's gateway that were lost")

    def batch(self, report: BatchReport) -> None:
        """Called on the inference thread."""
        size, seconds = self._batches[report.kind, report.lane]
        size.observe(report.size)
        seconds.observe(report.seconds)

    def tell(self, event: Event) -> None:
        match event:
            case Attempted(outcome):
                self._attempts[outcome].inc()
            case ContentRead(source):
                self._contents[source].inc()
            case Written(seconds):
                self._writes.observe(seconds)
            case Accepted(images):
                self._accepted.inc(images)
            case Forgotten(images):
                self._forgotten.inc(images)
            case IndexSearched(seconds):
                self._index_searches.observe(seconds)
            case IndexLoaded(seconds):
                self._index_loads.observe(seconds)
            case Answered(asked, result, seconds):
                self._answers[asked, result].inc()
                self._answer_seconds[asked].observe(seconds)


log = logging.getLogger(__name__)
