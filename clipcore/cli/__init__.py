"""`clipcore …`: the library on the command line. Starting it loads neither torch nor transformers."""

from __future__ import annotations

from clipcore.cli.app import main as main
