"""`python -m tests.e2e.hung_device` is the bot on a device that never finishes a batch of images."""

from __future__ import annotations

import threading
from typing import Any

import clipcore
from bot.__main__ import exit_process, main

_load = clipcore.ClipModel.load


def load(*arguments: Any, **options: Any) -> Any:
    model: Any = _load(*arguments, **options)
    model.encode_prepared = lambda _: threading.Event().wait()
    return model


if __name__ == "__main__":
    clipcore.ClipModel.load = load  # type: ignore[method-assign,assignment]
    exit_process(main([]))
