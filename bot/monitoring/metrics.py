"""Metrics counted where things happen, in prometheus_client's default registry. docs/operating.md describes each one.

Label values come from fixed lists: no ids, no text by users. Counters with labels start at zero for every value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from prometheus_client import Counter, Histogram

from clipcore.engine.executor import BatchReport
from clipcore.types import Lane

KINDS = ("image", "text")
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
INFERENCE_BATCH_SIZE = _histogram("inference_batch_size", "Inputs in one batch", _BATCH_SIZES, kind=KINDS, lane=LANES)
INFERENCE_BATCH_SECONDS = _histogram(
    "inference_batch_seconds", "The device's time for one batch", _SHORT_S, kind=KINDS, lane=LANES
)

# -- search

ANSWERS = _counter(
    "answers",
    "Searches, by kind of query and result",
    asked=QUERY_KINDS,
    # nothing_readable: there was no image that the asker may see; busy: the inference queue was full
    result=("answered", "nothing_alike", "nothing_readable", "busy"),
)
ANSWER_SECONDS = _histogram(
    "answer_seconds", "From a query to all of the matches that are shown", _LONG_S, asked=QUERY_KINDS
)
INDEX_LOAD_SECONDS = _histogram("index_load_seconds", "Loading one server's embeddings into memory", _LONG_S)
INDEX_SEARCH_SECONDS = _histogram("index_search_seconds", "One search of a server's embeddings", _SHORT_S)

# -- store, event loop, Discord

STORE_WRITE_SECONDS = _histogram("store_write_seconds", "One write transaction, from its begin to its commit", _SHORT_S)
EVENT_LOOP_LAG_SECONDS = _histogram("event_loop_lag_seconds", "How late the event loop is", _SHORT_S)
COMMAND_SECONDS = Histogram("magpie_command_seconds", "From a command to its reply", ("command",), buckets=_LONG_S)
COMMANDS_FAILED = Counter("magpie_commands_failed", "Commands that failed", ("command",))
GATEWAY_CONNECTIONS = _counter("gateway_connections", "Gateway sessions started or resumed", kind=("new", "resumed"))
GATEWAY_DISCONNECTS = _counter("gateway_disconnects", "Lost connections to Discord's gateway")


def observe_batch(report: BatchReport) -> None:
    """Called on the inference thread."""
    labels = (report.kind, report.lane.name.lower())
    INFERENCE_BATCH_SIZE.labels(*labels).observe(report.size)
    INFERENCE_BATCH_SECONDS.labels(*labels).observe(report.seconds)
