"""The models worth knowing by name, with what one wants to know before downloading any of them."""

from __future__ import annotations

from dataclasses import dataclass

ENGLISH = ("en",)
CHINESE = ("zh",)
MANY = ("mul",)  # ISO 639-2: more than are listed


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that its makers publish under its SHA-256, so that what arrives can be checked before it is read."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """name: short, for people. id: what the hub, or the model's own file, calls it, and what its vectors name.

    dimension: of its vectors. input_size: edge in pixels of the square that it sees. context_length: tokens a text may
    have, 0 where it sees pictures alone. languages: ISO 639 codes of the texts that it learnt from; `mul` are many.
    parameters: their number; a download is two or four bytes for each. file: where the weights lie if not on the hub.
    """

    name: str
    id: str
    dimension: int
    input_size: int
    context_length: int
    languages: tuple[str, ...]
    licence: str
    parameters: int
    file: PublishedFile | None = None

    @property
    def reads_text(self) -> bool:
        return self.context_length > 0


def available_models() -> tuple[KnownModel, ...]:
    """The models worth offering: the bundled one, OpenAI's nine, and the others that we recommend. Any other checkpoint
    of a known family works as well.
    """
    return _BUNDLED, *_OPENAI, *_RECOMMENDED


def _openai_resnet(name: str, sha256: str, dimension: int, input_size: int, parameters: int) -> KnownModel:
    """No checkpoint on the hub: OpenAI's own file, from the address in openai/CLIP, clip/clip.py."""
    file = PublishedFile(f"https://openaipublic.azureedge.net/clip/models/{sha256}/{name}.pt", sha256)
    return KnownModel(name, name, dimension, input_size, 77, ENGLISH, "MIT", parameters, file)


def _openai_vit(name: str, hub_id: str, dimension: int, input_size: int, parameters: int) -> KnownModel:
    return KnownModel(name, hub_id, dimension, input_size, 77, ENGLISH, "MIT", parameters)


_BUNDLED = KnownModel("bundled", "bundled", 256, 60, 32, (*ENGLISH, *CHINESE), "MIT", 4_918_657)

# Dimensions and input sizes: Radford et al. 2021, tables 19 and 20, and open_clip's docs/model_profile.csv, with which
# the parameters agree; these were counted on models built from the published configurations. Licence: openai/CLIP.
_OPENAI = (
    _openai_resnet("RN50", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", 1024, 224, 102_007_137),
    _openai_resnet("RN101", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", 512, 224, 119_688_033),
    _openai_resnet("RN50x4", "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", 640, 288, 178_300_601),
    _openai_resnet(
        "RN50x16", "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", 768, 384, 290_979_217
    ),
    _openai_resnet(
        "RN50x64", "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", 1024, 448, 623_258_305
    ),
    _openai_vit("ViT-B/32", "openai/clip-vit-base-patch32", 512, 224, 151_277_313),
    _openai_vit("ViT-B/16", "openai/clip-vit-base-patch16", 512, 224, 149_620_737),
    _openai_vit("ViT-L/14", "openai/clip-vit-large-patch14", 768, 224, 427_616_513),
    _openai_vit("ViT-L/14@336px", "openai/clip-vit-large-patch14-336", 768, 336, 427_944_193),
)

# Licences as each model's page on the hub states them. SigLIP 2: Tschannen et al. 2025, §2, texts of 64 tokens in 109
# languages. LAION: open_clip, trained on the English part of LAION-5B. Chinese-CLIP: the table of models in its README,
# and its context length of 52. DINOv2 and ResNet-50 give the class token, or the pooled map, of their configurations.
_RECOMMENDED = (
    KnownModel("siglip2-base", "google/siglip2-base-patch16-224", 768, 224, 64, MANY, "Apache-2.0", 375_187_970),
    KnownModel("siglip2-so400m", "google/siglip2-so400m-patch14-384", 1152, 384, 64, MANY, "Apache-2.0", 1_136_008_498),
    KnownModel("laion-B/32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 512, 224, 77, ENGLISH, "MIT", 151_277_313),
    KnownModel("laion-L/14", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 768, 224, 77, ENGLISH, "MIT", 427_616_513),
    KnownModel(
        "chinese-B/16", "OFA-Sys/chinese-clip-vit-base-patch16", 512, 224, 52, CHINESE, "Apache-2.0", 188_262_913
    ),
    KnownModel(
        "chinese-L/14", "OFA-Sys/chinese-clip-vit-large-patch14", 768, 224, 52, CHINESE, "Apache-2.0", 406_233_089
    ),
    KnownModel(
        "chinese-H/14", "OFA-Sys/chinese-clip-vit-huge-patch14", 1024, 224, 52, CHINESE, "Apache-2.0", 957_598_209
    ),
    KnownModel("dinov2-base", "facebook/dinov2-base", 768, 224, 0, (), "Apache-2.0", 86_580_480),
    KnownModel("resnet-50", "microsoft/resnet-50", 2048, 224, 0, (), "Apache-2.0", 23_508_032),
)
