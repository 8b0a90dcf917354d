"""CLIP's image tower computes of its last layer what the class token needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel

from clipcore.model import open_checkpoint
from clipcore.models.checkpoint import find_checkpoint
from clipcore.models.transformer import VisionTransformer
from tests.clipcore.easynlp_layouts import write_huggingface_clip
from tests.clipcore.families import FAMILIES, Family

ALL = [*FAMILIES, Family("roberta_clip", write_huggingface_clip, None, None)]
WITH_CLIPS_TOWER = {"clip", "chinese_clip", "roberta_clip"}


def multiplications(step: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        step()
    return counter.get_total_flops()


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_the_families_with_clips_tower_have_ours(family, tmp_path):
    opened = open_checkpoint(find_checkpoint(str(family.write(tmp_path / family.name))))
    ours = any(isinstance(module, VisionTransformer) for module in opened.towers.module.modules())
    assert ours == (family.name in WITH_CLIPS_TOWER)


def test_our_tower_saves_most_of_the_last_layer_and_has_the_same_output():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, num_hidden_layers=3, image_size=32, patch_size=8)
    whole, short = CLIPVisionModel(config).eval(), VisionTransformer(config.to_dict()).eval()
    short.load_state_dict(whole.state_dict())
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(short(pixels), whole(pixel_values=pixels).pooler_output)
    fraction = multiplications(lambda: short(pixels)) / multiplications(lambda: whole(pixel_values=pixels))
    # Of 12 squares of its width the keys' and values' two remain, in one layer of three; and there are the patches.
    assert 0.7 < fraction < 0.8
