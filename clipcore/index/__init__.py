"""Exact nearest neighbours over fp16 vectors in memory. Loads numpy, never torch."""

from clipcore.index.vector_index import VectorIndex as VectorIndex
