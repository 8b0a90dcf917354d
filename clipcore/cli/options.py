"""How commands take their options; the options that several share, and the reading of what they name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.datasets import Columns
from clipcore.errors import BadInput

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
    """The type of a field has its `typer.Option`, or else its metadata the help and its panel, as `TrainingPlan`'s."""
    types = get_type_hints(group, include_extras=True)
    for field in fields(group):
        annotation, told = types[field.name], field.metadata
        if told:
            flag = "--" + field.name.replace("_", "-")
            annotation = Annotated[annotation, typer.Option(flag, help=told["help"], rich_help_panel=told["panel"])]
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
        )


@dataclass(frozen=True, slots=True)
class ModelOptions:
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="CLIPCORE_MODEL",
            help="A name from `clipcore models`, a hub id, a directory or a file.",
        ),
    ] = "ViT-B/32"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto"

    def load(self) -> ClipModel:
        """Imports torch, so commands call it only when something must be encoded. Raises ModelUnavailable."""
        from clipcore.model import ClipModel

        return ClipModel.load(self.model, device=self.device)


@dataclass(frozen=True, slots=True)
class EncodingOptions(ModelOptions):
    batch_size: Annotated[int, typer.Option(min=1, help="Images or texts encoded at a time.")] = DEFAULT_BATCH_SIZE


@dataclass(frozen=True, slots=True)
class TableOptions(Columns):
    text: Annotated[
        str | None,
        typer.Option("--text-column", help="Name or number of the column of texts or classes; guessed if not given."),
    ] = None
    image: Annotated[
        str | None,
        typer.Option("--image-column", help="Name or number of the column of images; guessed if not given."),
    ] = None
    header: Annotated[
        bool | None, typer.Option(help="Whether the first row names the columns; guessed if not given.")
    ] = None


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
TextsFile = Annotated[
    Path | None, typer.Option("--texts", help="A file with one text a line; - for stdin.", allow_dash=True)
]
TemplatesFile = Annotated[
    Path | None,
    typer.Option(
        "--templates", help="One prompt template a line, with {} for the label; averaged. The model's own if not given."
    ),
]


def read_texts(path: Path) -> str:
    """Raises BadInput."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not UTF-8; save it as that, one text a line.") from error
