"""Records what open_clip's own code answers: `python -m tests.clipcore.record_open_clip`, where open_clip_torch,
which Magpie does not need, is installed. Writes data/open_clip_xlm_roberta.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.factory import load_checkpoint
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from transformers import XLMRobertaConfig

from tests.clipcore import open_clip_models as small
from tests.clipcore.images import noise

RECORDED = Path(__file__).parent / "data" / "open_clip_xlm_roberta.json"
SIZES = [(64, 48), (90, 121), (33, 32)]


def record() -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = small.write(Path(folder))
        sizes = {
            **{"vocab_size": small.WORDS, "hidden_size": small.WIDTH, "intermediate_size": 2 * small.WIDTH},
            **{"num_hidden_layers": small.LAYERS, "num_attention_heads": small.WIDTH // 64, "type_vocab_size": 1},
            # As xlm-roberta-base's config.json has it.
            **{"max_position_embeddings": small.POSITIONS, "layer_norm_eps": 1e-5, "pad_token_id": 1},
        }
        XLMRobertaConfig(**sizes).save_pretrained(directory)
        marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "<s>", "sep_token": "</s>", **marks}
        (directory / "tokenizer_config.json").write_text(json.dumps(tokens))
        config = small.model_config(hf_model_name=folder, hf_tokenizer_name=folder, hf_model_pretrained=False)
        model = open_clip.CustomTextCLIP(**config).eval()
        load_checkpoint(model, str(directory / "open_clip_pytorch_model.bin"))
        tokenize = HFTokenizer(folder, context_length=small.CONTEXT)
        prepare = image_transform_v2(PreprocessCfg(size=32), is_train=False)
        pixels = torch.stack([prepare(Image.fromarray(noise(*size, seed=size[0]))) for size in SIZES])
        ids = tokenize(small.TEXTS)
        with torch.inference_mode():
            images, texts, scale = model(pixels, ids)
            answers = {
                "token_ids": ids.tolist(),
                "image_features": _rounded(model.encode_image(pixels)),
                "text_features": _rounded(model.encode_text(ids)),
                "logits_per_image": _rounded(scale * images @ texts.T),
            }
    made = f"By tests/clipcore/record_open_clip.py from open_clip_torch {open_clip.__version__}, in float32."
    RECORDED.write_text(json.dumps({"made": made, "sizes": SIZES, **answers}, indent=1) + "\n")


def _rounded(features: torch.Tensor) -> list[list[float]]:
    return np.round(features.numpy().astype(float), 5).tolist()


if __name__ == "__main__":
    record()
