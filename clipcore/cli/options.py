"""How commands take their options, and the options that several share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.datasets import Columns
from clipcore.models.known_models import LIBRARY_MODEL

if TYPE_CHECKING:
    from typer._click.core import Context

    from clipcore.model import ClipModel

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
    """An application, or a group of commands, of `StrictCommand`s. A parameter of a command whose type is a dataclass
    stands for an option for each of its fields.
    """

    def command(self, *args: Any, **options: Any) -> Callable[[CommandFunction], CommandFunction]:  # noqa: ANN401
        register = super().command(*args, **{"cls": StrictCommand, **options})

        def register_expanded(command: CommandFunction) -> CommandFunction:
            register(_expand_options(command))
            return command

        return register_expanded


def _expand_options(command: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            parameters += _options_of(groups[name])
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**values: Any) -> Any:  # noqa: ANN401 - what the command takes and returns
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _options_of(group: type) -> Iterator[inspect.Parameter]:
    """A field without flags of its own gets one by its name."""
    types = get_type_hints(group)
    for each in fields(group):
        how = dict(each.metadata)
        flags = how.pop("flags", None) or ["--" + each.name.replace("_", "-")]
        annotation = Annotated[types[each.name], typer.Option(*flags, **how)]  # type: ignore[valid-type, name-defined]
        yield inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation)


def option(default: Any, *flags: str, **how: Any) -> Any:  # noqa: ANN401 - a dataclass field of any type
    """A field of a dataclass of options. how: as for `typer.Option`."""
    return field(default=default, metadata={"flags": flags, **how})


@dataclass(frozen=True, slots=True)
class ModelOptions:
    model: str = option(
        LIBRARY_MODEL,
        "--model",
        "-m",
        envvar="CLIPCORE_MODEL",
        help="A name from `clipcore models`, a hub id, a directory or a file.",
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, mps.")

    def load(self) -> ClipModel:
        """Imports torch, so commands call it only when something must be encoded. Raises ModelUnavailable."""
        from clipcore.model import ClipModel

        return ClipModel.load(self.model, device=self.device)


@dataclass(frozen=True, slots=True)
class EncodingOptions(ModelOptions):
    batch_size: int = option(DEFAULT_BATCH_SIZE, min=1, help="Images or texts encoded at a time.")


@dataclass(frozen=True, slots=True)
class TableOptions(Columns):
    text: str | None = option(
        None, "--text-column", help="Name or number of the column of texts or classes; guessed if not given."
    )
    image: str | None = option(
        None, "--image-column", help="Name or number of the column of images; guessed if not given."
    )
    header: bool | None = option(
        None, "--header/--no-header", help="Whether the first row names the columns; guessed if not given."
    )


TEMPLATES_HELP = "One prompt template a line, with {} for the label; averaged. The model's own if not given."

JSON_HELP = "Print one JSON document instead of text for people."

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
