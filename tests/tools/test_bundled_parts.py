"""The tokenizer, the optimiser and the loss behind the bundled model."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.tools.worlds import made_up_sprites, shipped_concepts
from tools.bundled_loss import answering, answers, fitting, level_loss, members_loss, training_loss
from tools.bundled_model import as_tokens, grow_vocabulary, image_vectors, new_model
from tools.bundled_stream import Mix, Stream
from tools.bundled_tokenizer import CONTEXT, END, START, save_tokenizer, split_freely, train_tokenizer, with_emoji
from tools.emoji_questions import Question
from tools.emoji_scenes import SIDE, empty, pair, single
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


def test_emoji_become_single_tokens_and_all_other_words_keep_theirs():
    texts = ["a cat on a sofa", "沙发上的猫", "foxes & 12 OK hands", "it's"]
    emoji = ["🐱", "🛋", "❤‍🔥", "🧑‍🚀", "❤", "☕"]
    tokenizer = with_emoji(SMALL, emoji)
    for text in emoji:
        assert len(tokenizer.encode(text).ids) == 3, text
    assert [tokenizer.encode(text).ids for text in texts] == [SMALL.encode(text).ids for text in texts]
    assert tokenizer.encode("a 🐱🛋️!").ids[1:-1] == [tokenizer.encode(word).ids[1] for word in ("a", "🐱", "🛋", "!")]
    assert tokenizer.encode("🧑🏽‍🚀").ids == tokenizer.encode("🧑‍🚀").ids
    assert with_emoji(tokenizer, emoji).to_str() == tokenizer.to_str()


@given(st.text(max_size=30))
def test_a_text_in_pieces_is_the_same_text(text):
    rng = np.random.default_rng(0)
    text = text.replace(START, "").replace(END, "")
    whole = SMALL.encode(text)
    assert split_freely(SMALL, text, 0.0, rng) == whole.ids
    pieces = [SMALL.id_to_token(token) for token in split_freely(SMALL, text, 0.5, rng)]
    assert "".join(pieces) == "".join(whole.tokens)


def test_new_tokens_start_as_the_words_that_they_mean():
    model = new_model(SMALL, torch.rand(4, 3, SIDE, SIDE))
    rows = model.text_model.embeddings.token_embedding.weight.detach().clone()
    tokenizer = with_emoji(SMALL, ["🐱", "🛋"])
    grow_vocabulary(model, tokenizer, {"🐱": "cat", "🛋": "a sofa"})
    grown = model.text_model.embeddings.token_embedding.weight
    assert torch.equal(grown[: len(rows)], rows)
    assert len(grown) == model.config.text_config.vocab_size == tokenizer.get_vocab_size()
    assert torch.allclose(grown[tokenizer.encode("🛋").ids[1]], rows[SMALL.encode("a sofa").ids[1:-1]].mean(0))


def test_a_level_parts_what_is_right_from_what_is_not_whatever_is_undecided():
    right = torch.tensor([[True, False, False], [False, False, False]])
    undecided = torch.tensor([[False, True, False], [False, False, False]])
    good = level_loss(torch.tensor([[0.6, 0.9, 0.1], [0.1, 0.1, 0.1]]), right, undecided)
    missed = level_loss(torch.tensor([[0.3, 0.9, 0.1], [0.1, 0.1, 0.1]]), right, undecided)
    fooled = level_loss(torch.tensor([[0.6, 0.9, 0.1], [0.1, 0.6, 0.1]]), right, undecided)
    assert good < 0.1
    assert min(missed, fooled) > 1
    assert level_loss(torch.tensor([[0.1, 0.1, 0.1]]), right[1:], undecided[1:]).isfinite()


def test_a_caption_fits_all_that_shows_its_things_and_questions_all_that_answers():
    rng = np.random.default_rng(0)
    scenes = [single(3, rng), pair(3, 5, rng), pair(5, 7, rng), empty(rng), empty(rng)]
    right, undecided = fitting(scenes)
    assert [row.nonzero().flatten().tolist() for row in right] == [[0, 1], [1], [2], [3], [4]]
    assert [row.nonzero().flatten().tolist() for row in undecided] == [[], [0, 2], [1], [4], [3]]
    right, undecided = answering([Question("x", frozenset({5}), frozenset({3})), Question("y", frozenset())], scenes)
    assert [row.nonzero().flatten().tolist() for row in right] == [[1, 2], []]
    assert [row.nonzero().flatten().tolist() for row in undecided] == [[0], []]


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
