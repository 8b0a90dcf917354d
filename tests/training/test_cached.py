"""Cached gradients are those of the batch in one piece."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clipcore.errors import BadInput
from clipcore.training.loss import CachedTower
from tests.training.gradients import gradients
from tests.training.world import load


@pytest.mark.parametrize("micro_batch", [1, 5, 11])
def test_gradients_do_not_depend_on_the_micro_batch(tiny_directory, micro_batch):
    loss, whole = gradients(tiny_directory, micro_batch=12)
    same_loss, cached = gradients(tiny_directory, micro_batch=micro_batch)
    assert same_loss == pytest.approx(loss, abs=1e-5)
    assert whole.keys() == cached.keys()
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        assert torch.allclose(cached[name], gradient, atol=1e-5), name


def test_every_weight_gets_a_gradient_under_autocast_with_any_micro_batch(tiny_directory):
    _, exact = gradients(tiny_directory, micro_batch=12)
    for micro_batch in (4, 12):
        _, rounded = gradients(tiny_directory, micro_batch=micro_batch, amp="bf16")
        assert rounded.keys() == exact.keys()
        ours, theirs = (torch.cat([one[name].flatten() for name in exact]) for one in (rounded, exact))
        assert 0.99 < torch.cosine_similarity(ours, theirs, dim=0) < 0.999999


def test_dropout_is_the_same_in_both_passes_and_differs_between_parts():
    tower = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5))
    rows = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    cached = CachedTower([lambda: tower(rows)] * 2, torch.empty(0, 64), learns=True, seed=3)
    torch.rand(5)
    cached.backward(torch.ones(2, 64))
    kept = cached.embeddings != 0
    assert torch.equal(tower[0].bias.grad, 2 * kept.sum(dim=0).float())
    assert not torch.equal(kept[0], kept[1])


def test_an_empty_share_has_no_embeddings_and_no_gradients():
    nothing = CachedTower([], torch.empty(0, 6), learns=True, seed=0)
    assert nothing.embeddings.shape == (0, 6)
    nothing.backward(torch.empty(0, 6))


@pytest.mark.parametrize(("fixed", "still"), [("fix_vision", "vis"), ("fix_text", "text")])
def test_a_fixed_tower_gets_no_gradients_and_the_other_the_same_as_before(tiny_directory, fixed, still):
    _, everything = gradients(tiny_directory, micro_batch=5)
    _, found = gradients(tiny_directory, micro_batch=5, **{fixed: True})
    fixed_names = {name for name in everything if name.startswith(still)}
    assert fixed_names
    assert found.keys() == everything.keys() - fixed_names
    # Rounding errors are relative to the largest gradient; some weights' gradients are nothing but those.
    largest = max(float(gradient.abs().max()) for gradient in everything.values())
    for name, gradient in found.items():
        assert torch.allclose(gradient, everything[name], atol=3e-6 * largest), name


def test_captions_are_cut_to_the_given_length_and_keep_their_end(tiny_directory):
    from clipcore.training.data import check_length, shortened

    model = load(tiny_directory)
    tokens = model.as_tokens(["a b c d e", "a"])
    cut = shortened(tokens, 4)
    assert cut["input_ids"].shape == cut["attention_mask"].shape == (2, 4)
    assert cut["input_ids"].tolist() == model.as_tokens(["a b", "a"])["input_ids"].tolist()
    assert shortened(tokens, 7) is tokens
    with pytest.raises(BadInput, match="16 tokens at most"):
        check_length(model, 17)


@pytest.mark.parametrize("alike", [{"captions": ["a b"] * 24}, {"one_image": True}])
def test_equal_captions_and_equal_files_are_not_negatives(tiny_directory, alike):
    """Images that all go by one name, or captions of one image, leave nothing to tell apart."""
    loss, found = gradients(tiny_directory, **alike)
    assert loss == pytest.approx(0, abs=1e-6)
    assert max(float(gradient.abs().max()) for gradient in found.values()) < 1e-6
