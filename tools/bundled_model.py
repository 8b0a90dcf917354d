"""The bundled model: its shape, its start, how it is fed and how it is written out."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from clipcore.prompts import Prompts
from tools.bundled_tokenizer import CONTEXT, END, START, mark, save_tokenizer
from tools.emoji_concepts import Concept, labels_json
from tools.emoji_scenes import SIDE

MEAN = STD = 0.5
PATCH = 12
WIDTH = 192
DIMENSION = 256
LENGTH_GROUPS = 6
KINDS = ("animals", "food", "a plant", "a vehicle", "clothes", "a building", "a tool", "a person", "a face", "sports")
PROMPTS = Prompts(
    label=("{}",),
    query=("{}",),
    background=("a white background", "a noisy background", "nothing", *KINDS, "weather"),
)
"""The captions are names alone as often as sentences, in two languages: a name needs no template, and an English one
around a Chinese name is something that the model never saw. The kinds of things keep a label that is not shown from
winning where no other label is, either: an animal is more like "animals" than like "a guitar"."""


def new_model(tokenizer: Tokenizer, sample: Tensor) -> CLIPModel:
    """sample: float32 [n, 3, SIDE, SIDE], images whose patches set the first weights."""
    shared = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "hidden_act": "gelu"}
    end = mark(tokenizer, END)
    marks = {"bos_token_id": mark(tokenizer, START), "eos_token_id": end, "pad_token_id": end}
    text = {
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "max_position_embeddings": CONTEXT,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    vision = {"num_hidden_layers": 6, "num_attention_heads": 6, "image_size": SIDE, "patch_size": PATCH}
    model = CLIPModel(
        CLIPConfig(
            text_config={**shared, **text, **marks}, vision_config={**shared, **vision}, projection_dim=DIMENSION
        )
    )
    _whiten_patches(model, sample)
    return model


@torch.no_grad()
def grow_vocabulary(model: CLIPModel, tokenizer: Tokenizer, words: dict[str, str]) -> None:
    """Gives the model a row for each token that its tokenizer has gained. words: for a text that is one new token, the
    words that it means; it starts as their mean."""
    known: Tensor = model.text_model.embeddings.token_embedding.weight
    size = tokenizer.get_vocab_size()
    rows = known.mean(0).repeat(size, 1)
    rows[: len(known)] = known
    for text, meaning in words.items():
        _, *tokens, _ = tokenizer.encode(text).ids
        if len(tokens) == 1 and tokens[0] >= len(known):
            rows[tokens[0]] = known[tokenizer.encode(meaning).ids[1:-1]].mean(0)
    model.text_model.embeddings.token_embedding = torch.nn.Embedding(size, rows.shape[1], _weight=rows)
    model.config.text_config.vocab_size = size


def as_input(pixels: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] to normalised float32 [n, 3, h, w]."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def as_tokens(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """int64 [n, longest], padded with the end token; causal attention makes a mask needless."""
    return as_rows(tokenizer, [encoding.ids for encoding in tokenizer.encode_batch(texts)])


def as_rows(tokenizer: Tokenizer, rows: list[list[int]]) -> Tensor:
    """As `as_tokens`, of texts that are tokens already."""
    longest = min(CONTEXT, max(len(row) for row in rows))
    end = mark(tokenizer, END)
    tokens = torch.full((len(rows), longest), end)
    for index, row in enumerate(rows):
        tokens[index, : min(len(row), longest)] = torch.tensor(row[:longest])
    tokens[:, -1] = end
    return tokens


def image_vectors(model: CLIPModel, pixels: Tensor) -> Tensor:
    """float32 [n, DIMENSION], unit length."""
    return image_and_patch_vectors(model, pixels)[0]


def image_and_patch_vectors(model: CLIPModel, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [n, DIMENSION] and [n, patches, DIMENSION], unit length: the image's, and each patch's read alike."""
    hidden = model.vision_model(pixel_values=pixels).last_hidden_state
    projected = model.visual_projection(model.vision_model.post_layernorm(hidden))
    vectors = functional.normalize(projected, dim=-1)
    return vectors[:, 0], vectors[:, 1:]


def text_vectors(model: CLIPModel, tokens: Tensor) -> Tensor:
    """float32 [n, DIMENSION], unit length. Read in groups by length: padding costs as much as words."""
    lengths = (tokens == model.config.text_config.eos_token_id).int().argmax(-1) + 1
    order = lengths.argsort()
    read = []
    for part in order.chunk(LENGTH_GROUPS):
        read.append(model.text_model(input_ids=tokens[part, : int(lengths[part].max())]).pooler_output)
    vectors = torch.cat(read)[order.argsort()]
    return functional.normalize(model.text_projection(vectors), dim=-1)


def save_model(model: CLIPModel, tokenizer: Tokenizer, concepts: list[Concept], folder: Path) -> None:
    """The files that `from_pretrained` reads, weights in half precision, and the labels."""
    folder.mkdir(parents=True, exist_ok=True)
    half = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    (folder / "labels.json").write_text(labels_json(concepts), "utf-8")
    (folder / "prompts.json").write_text(PROMPTS.as_json(), "utf-8")
    preprocessing = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n", "utf-8")


@torch.no_grad()
def _whiten_patches(model: CLIPModel, pixels: Tensor) -> None:
    """Starts the patch embedding from the principal components of patches, each brought to unit variance.

    From random weights the flat background is nearly all that a patch says, and detail takes long to come through
    (the idea: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds"). Positions start as waves of a like strength.
    """
    embeddings = model.vision_model.embeddings
    weight = embeddings.patch_embedding.weight
    patches = functional.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, weight[0].numel())
    patches = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    scaled = vectors[:, -WIDTH:] / (values[-WIDTH:] + 0.02).sqrt()
    weight.copy_(scaled.T.reshape(weight.shape))
    embeddings.position_embedding.weight[1:] = 0.5 * _waves(SIDE // PATCH)


def _waves(grid: int) -> Tensor:
    """float32 [grid * grid, WIDTH]: sines and cosines of row and column, channels shuffled."""
    rows, columns = torch.meshgrid(torch.arange(grid).float(), torch.arange(grid).float(), indexing="ij")
    quarter = WIDTH // 4
    speeds = torch.arange(1, quarter + 1) * torch.pi / quarter
    angles = [place.reshape(-1, 1) * speeds for place in (rows, columns)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return table[:, torch.randperm(WIDTH)]
