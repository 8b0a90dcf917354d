"""The class token without the rest of the last layer, compared with the whole tower."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel

from clipcore.models.checkpoint import find_checkpoint
from clipcore.models.families import open_checkpoint
from clipcore.models.first_token import first_token, pools_class_token
from tests.clipcore.easynlp_layouts import write_huggingface_clip
from tests.clipcore.families import FAMILIES, Family

ALL = [*FAMILIES, Family("roberta_clip", write_huggingface_clip, None, None)]
SHORTCUT = {"chinese_clip", "altclip"}  # CLIP itself and EasyNLP's RoBERTa always take the shortcut
EDGE = 32


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, num_hidden_layers=3, image_size=EDGE, patch_size=8)
    return CLIPVisionModel(config).eval()


def pixels(edge: int = EDGE) -> torch.Tensor:
    return torch.randn(3, 3, edge, edge, generator=torch.Generator().manual_seed(0))


def multiplications(step: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        step()
    return counter.get_total_flops()


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_the_shortcut_gives_the_features_of_the_whole_tower(family, tmp_path):
    opened = open_checkpoint(find_checkpoint(str(family.write(tmp_path / family.name))))
    towers = opened.towers
    towers.module.eval()
    assert (towers.quick_image_features is not None) == (family.name in SHORTCUT)
    if towers.quick_image_features is not None:
        given = pixels(opened.preprocessing.crop)
        with torch.inference_mode():
            torch.testing.assert_close(towers.quick_image_features(given), towers.image_features(given))


def test_the_shortcut_saves_most_of_the_last_layer(tower):
    whole = multiplications(lambda: tower(pixel_values=pixels()))
    short = multiplications(lambda: first_token(tower, pixels()))
    # Of 12 squares of its width the keys' and values' two remain, in one layer of three; and there are the patches.
    assert 0.7 < short / whole < 0.8


def test_a_tower_with_other_parts_takes_no_shortcut(tower):
    assert pools_class_token(tower)
    tower.encoder.layers[-1].self_attn.add_module("gate", torch.nn.Identity())
    assert not pools_class_token(tower)
    del tower.encoder.layers[-1].self_attn.gate
    tower.encoder.layers[-1].add_module("adapter", torch.nn.Identity())
    assert not pools_class_token(tower)
    del tower.encoder.layers[-1].adapter
    assert not pools_class_token(torch.nn.Linear(1, 1))
