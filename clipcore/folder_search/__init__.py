"""Search over folders of images, with their embeddings in one SQLite file. Importing it does not load torch."""

from __future__ import annotations
