"""Small checkpoints as the makers of the original CLIP, and those who followed them, write theirs. Random weights.

Every number is one that half precision has, so that a file in half precision is exactly the same model.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

    Weights = dict[str, Tensor]

WORDS, CONTEXT, TEXT_WIDTH, DIMENSION = 49408, 20, 64, 24
VISION_WIDTH, PATCH, GRID, VISION_LAYERS = 128, 8, 4, 2
RESNET_WIDTH, RESNET_BLOCKS, RESNET_GRID = 8, (1, 2, 1, 1), 2
VIT_INPUT, RESNET_INPUT = PATCH * GRID, 32 * RESNET_GRID


def vit_weights(seed: int = 0) -> Weights:
    """The original's names and shapes for a vision transformer of two heads, and a text transformer of one."""
    return drawn({**vision_shapes(), **_text(), "logit_scale": ()}, seed)


def resnet_weights(seed: int = 0) -> Weights:
    return drawn({**_resnet(), **_text(), "logit_scale": ()}, seed)


def write_state_dict(path: Path, weights: Weights, *, half: bool = False) -> Path:
    import torch

    torch.save({name: value.half() if half else value for name, value in weights.items()}, path)
    return path


def write_torchscript(path: Path, weights: Weights) -> Path:
    """As OpenAI's files are: a scripted module in half precision, with three sizes among its buffers."""
    import torch

    sizes = {"input_resolution": VIT_INPUT, "context_length": CONTEXT, "vocab_size": WORDS}
    tree = _tree({name: value.half() for name, value in weights.items()})
    for name, size in sizes.items():
        tree.register_buffer(name, torch.tensor(size))
    with warnings.catch_warnings():
        # torch gives up TorchScript, which is no reason for the files that there are to change.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(tree), str(path))
    return path


def _tree(weights: Weights) -> nn.Module:
    """Modules whose state dict this is."""
    from torch import nn

    root = nn.Module()
    for name, value in weights.items():
        *modules, last = name.split(".")
        place = root
        for module in modules:
            if module not in dict(place.named_children()):
                place.add_module(module, nn.Module())
            place = place.get_submodule(module)
        if "running" in last:
            place.register_buffer(last, value)
        else:
            place.register_parameter(last, nn.Parameter(value, requires_grad=False))
    return root


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    """NumPy's oldest generator, whose numbers never change, as the recorded answers need."""
    import torch

    random = np.random.RandomState(seed)
    return {name: torch.from_numpy(_values(name, shape, random)) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...], random: np.random.RandomState) -> np.ndarray:
    noise = random.standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "position_ids":  # no weight: a buffer that files of some years hold among them
        return np.arange(shape[-1], dtype=np.int64).reshape(shape)
    if name == "logit_scale":
        values = np.asarray(3.0)
    elif last == "running_var":
        values = 1 + 0.3 * np.tanh(noise)
    elif last == "weight" and len(shape) == 1:
        values = 1 + 0.2 * noise
    elif len(shape) == 1:
        values = 0.2 * noise
    elif "embedding" in name:
        values = noise
    else:
        # What goes in stays as large on the way: the projections are stored the other way round.
        inputs = shape[0] if last in ("proj", "text_projection") else int(np.prod(shape[1:]))
        values = noise * (2 / inputs) ** 0.5
    return np.asarray(values, np.float16).astype(np.float32)


def _text() -> dict[str, tuple[int, ...]]:
    return {
        "positional_embedding": (CONTEXT, TEXT_WIDTH),
        "text_projection": (TEXT_WIDTH, DIMENSION),
        "token_embedding.weight": (WORDS, TEXT_WIDTH),
        **norm("ln_final", TEXT_WIDTH),
        **_blocks("transformer", TEXT_WIDTH, layers=1),
    }


def vision_shapes() -> dict[str, tuple[int, ...]]:
    return {
        "visual.class_embedding": (VISION_WIDTH,),
        "visual.positional_embedding": (GRID**2 + 1, VISION_WIDTH),
        "visual.proj": (VISION_WIDTH, DIMENSION),
        "visual.conv1.weight": (VISION_WIDTH, 3, PATCH, PATCH),
        **norm("visual.ln_pre", VISION_WIDTH),
        **norm("visual.ln_post", VISION_WIDTH),
        **_blocks("visual.transformer", VISION_WIDTH, layers=VISION_LAYERS),
    }


def _blocks(tower: str, width: int, layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for block in (f"{tower}.resblocks.{number}" for number in range(layers)):
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            **linear(f"{block}.attn.out_proj", width, width),
            **norm(f"{block}.ln_1", width),
            **linear(f"{block}.mlp.c_fc", width, 4 * width),
            **linear(f"{block}.mlp.c_proj", 4 * width, width),
            **norm(f"{block}.ln_2", width),
        }
    return shapes


def _resnet() -> dict[str, tuple[int, ...]]:
    width, last = RESNET_WIDTH, 32 * RESNET_WIDTH
    shapes = {
        "visual.conv1.weight": (width // 2, 3, 3, 3),
        **_batch_norm("visual.bn1", width // 2),
        "visual.conv2.weight": (width // 2, width // 2, 3, 3),
        **_batch_norm("visual.bn2", width // 2),
        "visual.conv3.weight": (width, width // 2, 3, 3),
        **_batch_norm("visual.bn3", width),
    }
    channels = width
    for stage, blocks in enumerate(RESNET_BLOCKS):
        for block in range(blocks):
            inner = width * 2**stage
            shapes |= _bottleneck(f"visual.layer{stage + 1}.{block}", channels, inner, shortened=block == 0)
            channels = 4 * inner
    shapes["visual.attnpool.positional_embedding"] = (RESNET_GRID**2 + 1, last)
    for projection in ("k_proj", "q_proj", "v_proj"):
        shapes |= linear(f"visual.attnpool.{projection}", last, last)
    return {**shapes, **linear("visual.attnpool.c_proj", last, DIMENSION)}


def _bottleneck(block: str, channels: int, inner: int, *, shortened: bool) -> dict[str, tuple[int, ...]]:
    shapes = {
        f"{block}.conv1.weight": (inner, channels, 1, 1),
        **_batch_norm(f"{block}.bn1", inner),
        f"{block}.conv2.weight": (inner, inner, 3, 3),
        **_batch_norm(f"{block}.bn2", inner),
        f"{block}.conv3.weight": (4 * inner, inner, 1, 1),
        **_batch_norm(f"{block}.bn3", 4 * inner),
    }
    if shortened:
        shapes[f"{block}.downsample.0.weight"] = (4 * inner, channels, 1, 1)
        shapes |= _batch_norm(f"{block}.downsample.1", 4 * inner)
    return shapes


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {**norm(name, width), f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
