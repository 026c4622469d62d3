"""Two tiny vision-language models on disk with random weights, of two families: LLaVA and Qwen2.5-VL.

Each is also there in transformers, which is asked for what a greedy answer must be.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

from PIL import Image

VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<image>\n{% else %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'text' %}{{ content['text'] }}"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NUM_MERGES = 2000
QWEN_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


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
        return greedy_answer(self.model, self.processor, image, prompt, max_tokens)


class TinyQwen:
    """A random Qwen2.5-VL (two vision blocks, one of them windowed, two layers) in a folder, and the same in memory.

    Its processor takes pictures of 3136 to 12544 px, in steps of 28 px. Of more layers, it takes longer to answer.
    """

    def __init__(self, folder: Path, layers: int = 2) -> None:
        from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

        self.folder = folder
        size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
        self.processor = Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(size=size),
            tokenizer=_tokenizer(end="<|im_end|>", tokens=QWEN_TOKENS),
            video_processor=Qwen2VLVideoProcessor(size=size),
            chat_template=CHATML,
        )
        self.model = _qwen(self.processor.tokenizer, layers)

    def save(self) -> None:
        """Writes the weights, and the processor as published files have it."""
        self.processor.save_pretrained(self.folder)
        self.model.save_pretrained(self.folder)

    def answer(self, image: Image.Image, question: str, max_tokens: int) -> list[int]:
        """The tokens of the greedy answer, by transformers."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return greedy_answer(self.model, self.processor, image, prompt, max_tokens)


def greedy_answer(model: Any, processor: Any, image: Image.Image, prompt: str, max_tokens: int) -> list[int]:
    """The tokens of a greedy answer, the end token among them if it came."""
    inputs = processor(images=image, text=prompt, return_tensors="pt")
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
    return tokens[0, inputs["input_ids"].shape[1] :].tolist()


def _tokenizer(end: str = "</s>", tokens: tuple[str, ...] = ()) -> Any:
    """A tokenizer of the first CLIP merges, with the names that LLaVA, or another family, gives its special tokens."""
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
            vocab={word: number for number, word in enumerate([*words, "<s>", "</s>", *tokens])},
            merges=merges,
            end_of_word_suffix="</w>",
        )
    )
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)]
    )
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    if tokens:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend,
            eos_token=end,
            pad_token="</s>",
            extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        )
        tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
        return tokenizer
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


def _qwen(tokenizer: Any, layers: int) -> Any:
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in QWEN_TOKENS}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 128,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]},
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "initializer_range": 0.4,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        initializer_range=0.4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2_5_VLForConditionalGeneration(config).float().eval()
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    return model
