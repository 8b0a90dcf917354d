"""Measures the bundled model through the path by which any checkpoint is loaded, and prints the figures.

Nothing here was trained on: pairs and places are the ones that the training stream leaves out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.model import ClipModel
from clipcore.types import Calibration, Label, Standing, Vectors
from clipcore.zero_shot import ZeroShotClassifier
from tools.bundled_standing import bundled_standing
from tools.emoji_captions import plain_caption
from tools.emoji_concepts import ARTISTS, Concept, read_labels
from tools.emoji_questions import Question
from tools.emoji_scenes import Pixels, Scene, empty, is_held_out_pair, load_sprites, pair, render, single
from tools.emoji_words import load_wording, plain_emoji
from tools.evaluate_questions import GALLERY, QuestionBench, on_samples

DISTRACTORS = 500
TAGGED = 400
FOOLED_WORDS, FOOLED_IMAGES, FOOLED_TAGS = 0.1, 0.05, 0.1
"""How often a threshold may let a hopeless match pass."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recall:
    at_1: float
    at_5: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """value: where to cut; kept: share of true matches at or above it; fooled: share of hopeless ones at or above."""

    value: float
    kept: float
    fooled: float


class Bench:
    """A loaded model with the world it is measured on."""

    def __init__(self, folder: Path, art: Path) -> None:
        self.model = ClipModel.load(str(folder), precision="fp32", local_only=True)
        self.concepts: list[Concept] = read_labels(folder / "labels.json")
        self.sprites = load_sprites(art, self.concepts)
        images = self.see(self.singles(seed=101))
        self.questions = QuestionBench(self.model, self.concepts, load_wording(art, self.concepts), images)

    def see(self, scenes: list[Scene]) -> Vectors:
        pixels: list[Pixels] = [render(scene, self.sprites) for scene in scenes]
        return self.model.encode_images(pixels)

    def read(self, scenes: list[Scene], *, chinese: bool) -> Vectors:
        return self.model.encode_texts([plain_caption(scene, self.concepts, chinese) for scene in scenes])

    def single_recall(self, *, chinese: bool) -> Recall:
        """Text to image over all concepts, plain ground, unseen places; the mean over both artists' galleries."""
        found = []
        for artist in range(len(ARTISTS)):
            scenes = [_drawn_by(scene, artist) for scene in self.singles(seed=100 + artist)]
            found.append(recall(self.read(scenes, chinese=chinese), self.see(scenes)))
        return Recall(*(float(np.mean(values)) for values in zip(*((r.at_1, r.at_5) for r in found), strict=True)))

    def pair_recall(self, *, chinese: bool) -> Recall:
        """Text to image for pairs never trained on, each among DISTRACTORS other such scenes."""
        scenes = self.pairs(seed=200, count=DISTRACTORS + 1)
        return recall(self.read(scenes, chinese=chinese), self.see(scenes))

    def emoji_pair_recall(self) -> Recall:
        """As `pair_recall`, asked for by two emoji in the order of the caption's names."""
        scenes = self.pairs(seed=200, count=DISTRACTORS + 1)
        texts = ["".join(plain_emoji(self.concepts[index].emoji) for index in scene.concepts) for scene in scenes]
        return recall(self.model.encode_texts(texts), self.see(scenes))

    def singles(self, seed: int) -> list[Scene]:
        rng = np.random.default_rng(seed)
        return [single(index, rng, held_out=True, plain=True) for index in range(len(self.concepts))]

    def pairs(self, seed: int, count: int) -> list[Scene]:
        """Scenes of distinct held-out pairs, on any ground, at unseen places."""
        rng = np.random.default_rng(seed)
        chosen: dict[tuple[int, int], Scene] = {}
        while len(chosen) < count:
            first, second = (int(index) for index in rng.integers(len(self.concepts), size=2))
            if first != second and is_held_out_pair(first, second):
                chosen.setdefault((min(first, second), max(first, second)), pair(first, second, rng, held_out=True))
        return list(chosen.values())

    def text_threshold(self) -> Threshold:
        """True: a caption and its own image, singles and pairs, the name of one of two things in an image, both
        languages; a plural, an emoji or a kind of thing and an image that answers it. Hopeless: the best of GALLERY
        images that show nothing that was asked for, be it a word for nothing here or no word at all."""
        true, hopeless = [], []
        rng = np.random.default_rng(300)
        singles, pairs = self.singles(seed=301), self.pairs(seed=302, count=len(self.concepts))
        halves = [replace(scene, concepts=scene.concepts[:1], relation=None) for scene in pairs]
        for asked, scenes in ((singles, singles), (pairs, pairs), (halves, pairs)):
            images = self.see(scenes)
            for chinese in (False, True):
                scores = self.read(asked, chinese=chinese) @ images.T
                true.append(scores.diagonal())
                hopeless.append(_best_without(scores, scenes, rng))
        bench = self.questions
        answered: list[Question] = [*bench.plurals(held_out=True), *bench.emoji(), *bench.categories(held_out=True)]
        true.append(bench.right(answered))
        hopeless.append(bench.hopeless([*answered, *bench.absent(), *bench.made_up()]))
        return threshold_at(FOOLED_WORDS, np.concatenate(true), np.concatenate(hopeless))

    def image_threshold(self) -> Threshold:
        """True: two renderings of one concept. Hopeless: the best of GALLERY renderings of other concepts."""
        rng = np.random.default_rng(400)
        first, second = self.singles(seed=401), self.singles(seed=402)
        scores = self.see(first) @ self.see(second).T
        return threshold_at(FOOLED_IMAGES, scores.diagonal(), _best_without(scores, first, rng))

    def tag_threshold(self) -> Threshold:
        """True: the probability of what is shown, one thing or two. Hopeless: the greatest probability of a label
        that is not shown; images of nothing are among them."""
        rng = np.random.default_rng(500)
        scenes = [*self.singles(seed=501)[:TAGGED], *self.pairs(seed=502, count=TAGGED)]
        scenes += [empty(rng) for _ in range(TAGGED // 4)]
        shares = self.classifier(threshold=0.0).probabilities(self.see(scenes))
        true = [shares[row, index] for row, scene in enumerate(scenes) for index in scene.concepts]
        for row, scene in enumerate(scenes):
            shares[row, list(scene.concepts)] = 0
        return threshold_at(FOOLED_TAGS, np.array(true), shares.max(axis=1))

    def classifier(self, threshold: float) -> ZeroShotClassifier:
        """The bot's own classifier: each concept by its English and its Chinese name."""
        labels = [Label(concept.en, (concept.en, concept.zh)) for concept in self.concepts]
        return ZeroShotClassifier.for_model(self.model, labels, threshold=threshold)


def recall(texts: Vectors, images: Vectors) -> Recall:
    """Rows belong together. How often a text's own image is the nearest, and among the five nearest."""
    scores = texts @ images.T
    rank = (scores > scores.diagonal()[:, None]).sum(axis=1)
    return Recall(float((rank < 1).mean()), float((rank < 5).mean()))


def threshold_at(fooled: float, true: Scores, hopeless: Scores) -> Threshold:
    """The lowest cut that lets no more than this share of the hopeless pass: people's images are less tidy than
    these, so what can be kept is kept."""
    cut = round(float(np.quantile(hopeless, 1 - fooled)), 3)
    return Threshold(cut, float((true >= cut).mean()), float((hopeless >= cut).mean()))


def _drawn_by(scene: Scene, artist: int) -> Scene:
    return replace(scene, sprites=tuple(replace(sprite, artist=artist) for sprite in scene.sprites))


def _best_without(scores: Vectors, scenes: list[Scene], rng: np.random.Generator) -> Scores:
    """For each query the best score among GALLERY images that show none of its concepts."""
    best = []
    for row, scene in enumerate(scenes):
        gallery = [k for k in rng.permutation(len(scenes)) if not set(scenes[k].concepts) & set(scene.concepts)]
        best.append(scores[row, gallery[:GALLERY]].max())
    return np.array(best, np.float32)


def calibration_json(text: Threshold, image: Threshold, tag: Threshold, standing: Standing) -> str:
    """What `clipcore` reads beside the weights, with where each figure comes from."""
    source = {
        "text_threshold": f"keeps {text.kept:.1%} of captions of held-out pictures, of names of one of two things, of "
        f"plurals, emoji and kinds of things; the best of {GALLERY} pictures without what was asked for passes "
        f"{text.fooled:.1%} of the time",
        "image_threshold": f"keeps {image.kept:.1%} of pairs of renderings of one concept; the best of {GALLERY} "
        f"others passes {image.fooled:.1%} of the time",
        "tag_threshold": f"keeps {tag.kept:.1%} of the labels of what is shown; {tag.fooled:.1%} of pictures get a "
        "label that is not",
        "standing": "keeps 95.5% of the queries for one of 5, 24 or 200 pictures; make bench BENCH=relevance measures "
        "it on other concepts",
        "tool": "tools/evaluate_bundled.py",
    }
    values = {"text_threshold": text.value, "image_threshold": image.value, "tag_threshold": tag.value}
    return json.dumps({**values, "standing": asdict(standing), "source": source}, indent=2) + "\n"


def report_questions(bench: Bench, folder: Path, calibration: Calibration) -> None:
    """Prints what beside captions is answered, and how much of what has no answer is refused."""
    asked, threshold = bench.questions, calibration.text_threshold
    print(f"two emoji, unseen pairs among {DISTRACTORS}: R@1 {bench.emoji_pair_recall().at_1:.3f}")
    for name, questions in (
        ("plurals that training used", asked.plurals(held_out=False)),
        ("plurals that it did not", asked.plurals(held_out=True)),
        ("emoji", asked.emoji()),
        ("kinds of things, members that training named", asked.categories(held_out=False)),
        ("kinds of things, members that it did not", asked.categories(held_out=True)),
    ):
        print(
            f"{name}: {asked.share(questions, threshold)}; fooled {(asked.hopeless(questions) >= threshold).mean():.3f}"
        )
    for name, questions in (("words for nothing here", asked.absent()), ("no words", asked.made_up())):
        refused = (asked.hopeless(questions) < threshold).mean()
        print(
            f"{name}, unused in training: {refused:.3f} refused, of {len(questions)} asked of {GALLERY} pictures each"
        )
    for kind, answered in on_samples(bench.model, folder / "samples", calibration).items():
        print(f"samples, {kind}: {answered}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--model", type=Path, default=Path("clipcore/bundled"))
    parser.add_argument("--calibrate", action="store_true", help="write calibration.json beside the weights")
    options = parser.parse_args()
    bench = Bench(options.model, options.art)
    print(f"{len(bench.concepts)} concepts")
    for language, chinese in (("English", False), ("Chinese", True)):
        alone, together = bench.single_recall(chinese=chinese), bench.pair_recall(chinese=chinese)
        print(f"{language}: single concepts R@1 {alone.at_1:.3f}, R@5 {alone.at_5:.3f}")
        print(f"{language}: unseen pairs among {DISTRACTORS} R@1 {together.at_1:.3f}, R@5 {together.at_5:.3f}")
    thresholds = bench.text_threshold(), bench.image_threshold(), bench.tag_threshold()
    for name, threshold in zip(("text_threshold", "image_threshold", "tag_threshold"), thresholds, strict=True):
        print(f"{name} {threshold.value:.3f}: keeps {threshold.kept:.3f}, fooled {threshold.fooled:.3f}")
    standing = bundled_standing(bench.model, bench.concepts, bench.sprites, thresholds[0].value)
    print(standing)
    text, image, tag = (threshold.value for threshold in thresholds)
    report_questions(bench, options.model, Calibration(text, image, tag, standing))
    if options.calibrate:
        (options.model / "calibration.json").write_text(calibration_json(*thresholds, standing), "utf-8")


if __name__ == "__main__":
    main()
