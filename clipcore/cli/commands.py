"""The base of `clipcore` and its command groups: every command refuses empty arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperOption

if TYPE_CHECKING:
    from typer._click.core import Context

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])


class StrictCommand(TyperCommand):
    """A command that refuses an empty argument or option value.

    `clipcore encode "$PHOTOS"` with an unset variable passes an empty path, which pathlib reads as the current folder.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if args:
            values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            for param in self.params:
                given = values.get(param.name or "")
                if "" in (given if isinstance(given, list | tuple) else [given]):
                    name = param.opts[0] if isinstance(param, TyperOption) else "An argument"
                    ctx.fail(f"{name} is empty; give a value, or leave it out.")
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """A Typer application whose commands are `StrictCommand`s."""

    def command(self, *args: Any, **options: Any) -> Callable[[CommandFunction], CommandFunction]:  # noqa: ANN401
        return super().command(*args, **{"cls": StrictCommand, **options})
