"""However a folder came to be what it is, an index that followed it equals one made afresh."""

from __future__ import annotations

import shutil
import tempfile
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clipcore.images import png
from tests.folder_search.support import CountingModel, Indexed, everything, write

# In an order of bytes that differs from the order of folders: "d.png" and "d-1/" lie between "d" and "d/a.png".
NAMES = ("a.png", "b.png", "d.png", "d/a.png", "d/e/c.png", "d-1/a.png", "D.png", "d/\N{SNOWMAN}.png")
CONTENTS = (*(png(colour, 4, 4) for colour in ("red", "green", "blue")), png("red", 8, 8), b"no image")

names = st.sampled_from(NAMES)
changes = st.one_of(
    st.tuples(st.just("write"), names, st.integers(0, len(CONTENTS) - 1)),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("copy"), names, names),
    st.tuples(st.just("index")),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(changes, max_size=14), st.integers(1, 4))
def test_an_index_that_followed_every_change_equals_a_fresh_one(sequence, batch_size):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        write(folder / "always.png", CONTENTS[0], mtime=0)
        followed = Indexed(folder, Path(name) / "followed.sqlite3", batch_size=batch_size)
        clock = count(1)
        for change in sequence:
            _apply(change, followed, clock)
        followed.run()
        fresh = Indexed(folder, Path(name) / "fresh.sqlite3", CountingModel(), batch_size=batch_size)
        status = fresh.run()
        assert everything(followed.file) == everything(fresh.file)
        assert fresh.model.encoded == len(everything(fresh.file)[2])
        assert set(followed.run().values()) <= {"unchanged", "broken"}
        assert status.keys() == followed.run().keys()


def _apply(change, indexed, clock):
    kind, *places = change
    paths = [indexed.folder / place for place in places if isinstance(place, str)]
    if kind == "index":
        before = {content for content, *_ in everything(indexed.file)[2]} if indexed.file.exists() else set()
        encoded = indexed.model.encoded
        indexed.run()
        after = {content for content, *_ in everything(indexed.file)[2]}
        assert indexed.model.encoded - encoded == len(after - before), "what was known was encoded again"
    elif kind == "write":
        write(paths[0], CONTENTS[places[1]], mtime=next(clock))
    elif not paths[0].exists():
        return
    elif kind == "delete":
        paths[0].unlink()
    else:
        paths[1].parent.mkdir(parents=True, exist_ok=True)
        if kind == "rename":
            paths[0].rename(paths[1])
        elif paths[0] != paths[1]:
            shutil.copy2(paths[0], paths[1])
