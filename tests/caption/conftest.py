"""What the caption tests share: datasets of small real photos, the loaded `tags` engine, a tiny LLaVA on disk."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supir_caption.budget import CountTokens, clip_token_counter
from supir_caption.config import TagsConfig
from supir_caption.tags_engine import TagsEngine
from supir_shards import Role, Sample, Store, finish_dataset, part_name, sample_key, write_part

os.environ.setdefault("OMP_NUM_THREADS", "1")

VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<image>\n{% else %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
NUM_MERGES = 2000


def _photo(name: str) -> Image.Image:
    """One of scikit-image's photos, RGB."""
    import skimage.data

    return Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")


def _as_jpeg(image: Image.Image, **options: Any) -> bytes:
    """The picture as JPEG, quality 95."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def _as_sample(image: Image.Image, role: Role = Role.PHOTO) -> Sample:
    """A dataset's sample of a picture."""
    data = _as_jpeg(image)
    return Sample(
        key=sample_key(data), image=data, extension="jpg", role=role, width=image.width, height=image.height
    )


def _write_dataset(folder: Path, parts: Iterable[Sequence[Sample]]) -> Store:
    """A finished dataset, as curation leaves it."""
    store = Store(folder)
    for number, samples in enumerate(parts):
        write_part(store, part_name(number), samples)
    finish_dataset(store, command="supir-curate run", config={}, config_hash="0" * 16)
    return store


@pytest.fixture(scope="session")
def photo() -> Callable[[str], Image.Image]:
    return _photo


@pytest.fixture(scope="session")
def as_jpeg() -> Callable[..., bytes]:
    return _as_jpeg


@pytest.fixture(scope="session")
def as_sample() -> Callable[..., Sample]:
    return _as_sample


@pytest.fixture(scope="session")
def write_dataset() -> Callable[[Path, Iterable[Sequence[Sample]]], Store]:
    return _write_dataset


@pytest.fixture(scope="session")
def tags() -> TagsEngine:
    return TagsEngine(TagsConfig())


@pytest.fixture(scope="session")
def count() -> CountTokens:
    return clip_token_counter()


class TinyLlava:
    """A random LLaVA (CLIP vision tower, two Llama layers) in a folder, and the same model in transformers."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPImageProcessor, LlavaProcessor

        self.folder = folder
        self.processor = LlavaProcessor(
            image_processor=CLIPImageProcessor(
                size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
            ),
            tokenizer=_tokenizer(),
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=VICUNA,
        )
        self.model = _llava(self.processor.tokenizer)
        self.processor.save_pretrained(folder)

    def save(self) -> None:
        """Writes the weights under the names of the published LLaVA files, which transformers 5 no longer writes."""
        from safetensors.torch import load_file, save_file

        self.model.save_pretrained(self.folder)
        path = self.folder / "model.safetensors"
        tower, prefix = "vision_tower.", "vision_tower.vision_model."
        tensors = {name.replace(tower, prefix, 1): value for name, value in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})

    def answer(self, image: Image.Image, prompt: str, max_tokens: int) -> list[int]:
        """The tokens of the greedy answer, by transformers."""
        inputs = self.processor(images=image, text=prompt, return_tensors="pt")
        tokens = self.model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
        return tokens[0, inputs["input_ids"].shape[1] :].tolist()


def _tokenizer() -> Any:
    """A tokenizer of the first CLIP merges, with the names that LLaVA gives its special tokens."""
    from open_clip.tokenizer import bytes_to_unicode
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    lines = (
        gzip.decompress(Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes())
        .decode()
        .split("\n")
    )
    merges = [tuple(line.split()) for line in lines[1 : 1 + NUM_MERGES]]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    backend = Tokenizer(
        models.BPE(
            vocab={word: number for number, word in enumerate([*words, "<s>", "</s>"])},
            merges=merges,
            end_of_word_suffix="</w>",
        )
    )
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)]
    )
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )


def _llava(tokenizer: Any) -> Any:
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.4,
    )
    config = LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlavaForConditionalGeneration(config).float().eval()


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> TinyLlava:
    return TinyLlava(tmp_path_factory.mktemp("llava") / "tiny-llava")
