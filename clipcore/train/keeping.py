"""Putting a run away and taking it up again, so that nobody can tell that it was interrupted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from clipcore.errors import BadInput
from clipcore.train.plan import first_difference
from clipcore.train.writing import writing_to


class Kept(Protocol):
    """Whatever changes while training: weights, optimisers, random generators, records. As torch's own do it."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, texts, lists and dicts alone: the file is read as weights only."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


class Keeper:
    """One file that holds everything `kept`, and the terms under which it was made."""

    def __init__(self, path: Path, kept: Mapping[str, Kept], terms: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._kept = kept
        self._terms = dict(terms or {})

    def put_away(self, step: int) -> None:
        """Whole or not at all: whoever pulls the plug finds the file before or the file after. Raises BadInput."""
        states = {name: thing.state_dict() for name, thing in self._kept.items()}
        new = self._path.with_suffix(".new")
        with writing_to(self._path.parent):
            with new.open("wb") as file:
                torch.save({"step": step, "terms": self._terms, "states": states}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)

    def take_up(self) -> int:
        """Brings everything back to where it was put away. Returns the steps done; 0 where nothing was put away.

        Raises BadInput where the file cannot be read, or was made under other terms.
        """
        if not self._path.exists():
            return 0
        try:
            found = torch.load(self._path, map_location="cpu", weights_only=True)
            step, terms, states = int(found["step"]), found["terms"], found["states"]
        except Exception as error:
            # A damaged file raises whatever the layer that met the damage raises.
            raise BadInput(
                f"The checkpoint {str(self._path)!r} cannot be read ({type(error).__name__}); "
                "begin anew with --restart."
            ) from error
        if changed := first_difference(terms, self._terms):
            raise BadInput(
                f"{str(self._path.parent)!r} holds a run with {changed}; give its own command again, another output "
                "folder, or --restart to begin anew."
            )
        for name, thing in self._kept.items():
            thing.load_state_dict(states[name])
        return step
