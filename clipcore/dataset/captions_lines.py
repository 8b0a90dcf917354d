"""Chinese-CLIP's data sets: `…_imgs.tsv` of ids and base64 pictures, `…_texts.jsonl` of texts and the ids they tell of.

{"text_id": 8428, "text": "…", "image_ids": [1076345, 517602]}, one a line (OFA-Sys/Chinese-CLIP, README).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from clipcore.dataset.layout import Columns
from clipcore.dataset.pairs import Pairs, Problem
from clipcore.dataset.rows import open_table, read_rows
from clipcore.dataset.table import read_table
from clipcore.errors import BadInput

_COLUMNS = Columns(text="1", picture="2", header=False)


def read_captions_lines(pictures: Path, captions: Path) -> Pairs:
    """A text that tells of several pictures is a pair with each, and its rows of `text_of` are equal. Pictures that no
    text tells of stay: others must be told from them. Raises BadInput where nothing can be used.
    """
    table = read_table(pictures, pictures.parent, _COLUMNS, merge=False)
    place = {name: at for at, name in enumerate(table.texts)}
    texts: list[str] = []
    picture_of: list[int] = []
    text_of: list[int] = []
    problems = list(table.problems)
    with open_table(captions) as file:
        for row in read_rows(file):
            if row.is_blank:
                continue
            try:
                text, ids = _entry(row.line)
                found = [place[name] for name in ids if name in place]
                if not found:
                    raise BadInput("None of its pictures is in the table.")
            except BadInput as error:
                problems.append(Problem(f"{captions.name}, {row.name}", str(error)))
                continue
            texts += [text] * len(found)
            picture_of += found
            text_of += [row.number] * len(found)
    if not texts:
        raise BadInput(f"No text of {str(captions)!r} tells of a picture of {str(pictures)!r}.")
    places = np.asarray(picture_of, np.int64)
    return Pairs(texts, places, table.pictures, problems, np.asarray(text_of, np.int64))


def _entry(line: bytes) -> tuple[str, list[str]]:
    try:
        entry = json.loads(line)
        text, ids = " ".join(entry["text"].split()), [str(one) for one in entry["image_ids"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput('It is not {"text": …, "image_ids": […]}.') from error
    if not text:
        raise BadInput("Its text is empty.")
    return text, ids
