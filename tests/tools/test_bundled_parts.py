"""The tokenizer, the optimiser and the loss behind the bundled model."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.tools.worlds import made_up_sprites, shipped_concepts
from tools.bundled_loss import answers, members_loss, training_loss
from tools.bundled_model import as_tokens, image_vectors, new_model
from tools.bundled_stream import Mix, Stream
from tools.bundled_tokenizer import CONTEXT, END, START, save_tokenizer, train_tokenizer
from tools.emoji_scenes import empty, pair, single
from tools.muon import orthogonal

SMALL = train_tokenizer(["a cat on a sofa", "沙发上的猫", "a red apple", "红苹果"] * 3)


@given(st.text(max_size=40))
def test_any_text_becomes_tokens_with_the_end_mark_only_at_the_end(text):
    ids = SMALL.encode(text.replace(START, "").replace(END, "")).ids
    end = SMALL.token_to_id(END)
    assert ids[0] == SMALL.token_to_id(START)
    assert ids.index(end) == len(ids) - 1


def test_case_and_spacing_do_not_matter_and_chinese_characters_stand_alone():
    assert SMALL.encode("A  Cat").ids == SMALL.encode("a cat").ids
    assert SMALL.encode("沙发上的猫").ids[1:-1] == [SMALL.encode(word).ids[1] for word in "沙发上的猫"]


def test_transformers_reads_the_tokenizer_as_it_was_saved(tmp_path):
    save_tokenizer(SMALL, tmp_path)
    texts = ["a cat", "沙发上的猫", "x" * 200]
    read = AutoTokenizer.from_pretrained(tmp_path)(texts, padding=True, truncation=True, max_length=CONTEXT)
    ours = as_tokens(SMALL, texts)
    assert torch.equal(torch.tensor(read["input_ids"]), ours)


def test_orthogonal_brings_all_singular_values_near_one():
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_the_loss_forgives_half_right_captions_between_one_and_two_concepts():
    rng = np.random.default_rng(0)
    scenes = [single(3, rng), pair(3, 5, rng), pair(5, 7, rng), empty(rng), empty(rng)]
    target, undecided = answers(scenes, bank=10)
    assert target.tolist() == [3, 10, 11, 12, 13]
    assert undecided[0].nonzero().flatten().tolist() == [10]
    assert undecided[1].nonzero().flatten().tolist() == [3, 5]
    assert undecided[2].nonzero().flatten().tolist() == [5, 7]
    assert undecided[3].nonzero().flatten().tolist() == [13]


def test_a_scene_is_best_off_as_near_to_the_one_name_as_to_the_other():
    rng = np.random.default_rng(0)
    scenes = [single(3, rng), pair(0, 1, rng)]

    def loss(first: float, second: float, third: float) -> float:
        return members_loss(torch.tensor([[9.0, 0, 0, 0], [first, second, third, 0]]), scenes).item()

    assert loss(9, 9, 0) < loss(12, 6, 0) < loss(12, 6, 12)
    assert members_loss(torch.zeros(1, 4), scenes[:1]).item() == 0


def test_a_few_steps_on_one_batch_lower_the_loss():
    torch.manual_seed(0)
    concepts = shipped_concepts()[:12]
    stream = Stream(concepts, made_up_sprites(12), SMALL, 0)
    model = new_model(SMALL, stream.batch(Mix(12, 0, 0)).pixels)
    anchors = torch.nn.functional.normalize(torch.randn(12, model.config.projection_dim), dim=-1)
    bank, batch = anchors.clone(), stream.batch(Mix(8, 6, 2))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    losses = []
    for _ in range(10):
        loss = training_loss(model, batch, bank, anchors, guidance=1.0)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 2
    assert torch.allclose(image_vectors(model, stream.batch(Mix(4, 0, 0)).pixels).norm(dim=-1), torch.ones(4))


def test_the_same_captions_always_make_the_same_tokenizer():
    captions = [caption for concept in shipped_concepts()[:200] for caption in (concept.en, concept.zh)]
    assert train_tokenizer(captions).to_str() == train_tokenizer(captions).to_str()


def test_the_shipped_tokenizer_wraps_words_as_these_tools_do():
    shipped = Tokenizer.from_file(str(BUNDLED_DIRECTORY / "tokenizer.json"))
    assert shipped.encode("A cat").tokens == [START, "a</w>", "cat</w>", END]
