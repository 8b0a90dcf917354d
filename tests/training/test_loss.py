"""Our losses against transformers' own, and what they say of pairs that nobody can judge."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize
from transformers import CLIPModel, SiglipConfig, SiglipModel

from clipcore.training.loss import false_negative_mask, sigmoid_loss, softmax_loss

NONE = torch.zeros(5, 5, dtype=torch.bool)


def inputs(vocabulary: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(5, 3, 32, 32, generator=generator),
        "input_ids": torch.randint(1, vocabulary - 2, (5, 8), generator=generator),
    }


def test_the_softmax_loss_is_that_of_transformers(tiny_directory):
    model = CLIPModel.from_pretrained(tiny_directory).eval()
    with torch.no_grad():
        out = model(**inputs(50), return_loss=True)
        ours = softmax_loss(normalize(out.image_embeds), normalize(out.text_embeds), model.logit_scale, NONE)
    assert torch.allclose(ours, out.loss, atol=1e-6)


def test_the_sigmoid_loss_is_that_of_transformers():
    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = SiglipModel(
        SiglipConfig(
            text_config={**layers, "vocab_size": 50, "max_position_embeddings": 8, "projection_size": 32},
            vision_config={**layers, "image_size": 32, "patch_size": 16},
        )
    ).eval()
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
        out = model(**inputs(50), return_loss=True)
        ours = sigmoid_loss(
            normalize(out.image_embeds), normalize(out.text_embeds), model.logit_scale, model.logit_bias, NONE
        )
    assert torch.allclose(ours, out.loss, atol=1e-5)


def test_the_same_caption_or_image_in_another_row_is_a_false_negative():
    found = false_negative_mask(torch.tensor([1, 2, 3, 1]), torch.tensor([7, 8, 8, 9]))
    assert found.nonzero().tolist() == [[0, 3], [1, 2], [2, 1], [3, 0]]


def test_a_masked_pair_has_no_gradient():
    images, texts = (normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(k))) for k in (1, 2))
    undecided = torch.zeros(3, 3, dtype=torch.bool)
    undecided[0, 1] = undecided[1, 0] = True
    for loss in (softmax_loss, lambda a, b, scale, mask: sigmoid_loss(a, b, scale, torch.tensor(-1.0), mask)):
        # Without its true caption, what is left of row 0 and caption 1 is the pair that must not count.
        again = texts.clone().requires_grad_()
        loss(images[:2], again[:2], torch.tensor(1.0), undecided[:2, :2]).backward()
        alone = texts.clone().requires_grad_()
        for row in (0, 1):
            part = slice(row, row + 1)
            (loss(images[part], alone[part], torch.tensor(1.0), undecided[:1, :1]) / 2).backward()
        assert torch.allclose(again.grad, alone.grad, atol=1e-7)
