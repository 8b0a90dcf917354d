"""How words are put to a model: templates around a name, and what a picture of nothing in particular is called.

CLIP learnt from captions, so a bare word does worse than a caption about it, and several captions averaged do better
than one (Radford et al. 2021, §3.1.4).
"""

from __future__ import annotations

from dataclasses import dataclass

from clipcore.registry import BUNDLED


@dataclass(frozen=True, slots=True)
class Prompts:
    """label: templates for each phrase of a label. query: templates for what a person typed; their vectors are
    averaged.

    background: prompts that compete with the labels and stand for "none of them".
    """

    label: tuple[str, ...]
    query: tuple[str, ...]
    background: tuple[str, ...]

    def for_phrase(self, phrase: str) -> tuple[str, ...]:
        return tuple(template.format(phrase) for template in self.label)

    def for_query(self, words: str) -> tuple[str, ...]:
        """A sentence is a caption already and stays as it is; a few words are also put into captions."""
        words = " ".join(words.split())
        if len(words.split()) > _SHORT_QUERY_WORDS:
            return (words,)
        return tuple(template.format(words) for template in self.query)


def prompts_for(model_id: str) -> Prompts:
    """What suits a model: captions of photographs for most, the bundled model's own captions for it."""
    return _BUNDLED if model_id == BUNDLED else _PHOTOGRAPHS


_SHORT_QUERY_WORDS = 3

# The subset that OpenAI's notebook "Prompt_Engineering_for_ImageNet" found best is about objects in photographs; a
# chat has drawings and screenshots as well.
_PHOTOGRAPHS = Prompts(
    label=("a photo of {}.", "a close-up photo of {}.", "a picture of {}.", "a drawing of {}.", "{}"),
    query=("{}", "a photo of {}.", "a picture of {}."),
    background=(
        "a photo.",
        "a picture.",
        "a picture of something.",
        "a photo of an object.",
        "a photo of a place.",
        "a blurry photo.",
        "a plain background.",
        "an abstract pattern.",
        "random noise.",
    ),
)
# The bundled model learnt from names alone as much as from captions, in two languages: a name needs no template, and an
# English template around a Chinese name is something that it never saw.
_BUNDLED = Prompts(
    label=("{}",),
    query=("{}",),
    background=("a white background", "a noisy background", "nothing"),
)
