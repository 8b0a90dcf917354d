"""Magpie's CLIP library. Importing it loads neither torch nor transformers."""
