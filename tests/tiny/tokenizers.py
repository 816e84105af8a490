"""Tiny tokenizers of the classes that public pipelines use, built from a vocabulary in memory, without a download."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, GemmaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
LLAMA_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How LLaMA 3 splits a text before its vocabulary is asked: a word with the space before it, up to three digits, line ends, …"""
LLAMA_SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>", "<pad>")
QWEN_SPECIAL = ("<|im_start|>", "<|im_end|>")
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat of system, user and assistant as Qwen 2.5 reads it, as a Jinja template."""


def tiny_clip_tokenizer(max_length: int = 77) -> CLIPTokenizer:
    """A character-level tokenizer of the class of CLIP."""
    from transformers import CLIPTokenizer

    pieces = [piece for letter in LETTERS for piece in (letter, f"{letter}</w>")] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=max_length)


def tiny_gemma_tokenizer(max_length: int = 512) -> GemmaTokenizer:
    """A character-level tokenizer of the class of Gemma."""
    from transformers import GemmaTokenizer

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    return GemmaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=max_length)


def tiny_llama_tokenizer(text: str = "", max_length: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer like that of LLaMA 3: bytes, but every word of `known` is one token.

    Args:
        known: A text, such as a template whose length in tokens matters; its special tokens are recognised.
        max_length: `model_max_length`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    for special in LLAMA_SPECIAL:
        text = text.replace(special, "\0")
    words = [word for part in text.split("\0") for word, _ in split.pre_tokenize_str(part)]
    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: dict[tuple[str, str], None] = {}  # in order, without repetitions
    for word in words:
        for end in range(1, len(word)):
            merges[word[:end], word[end]] = None
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges), ignore_merges=True))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(LLAMA_SPECIAL))
    first = LLAMA_SPECIAL[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, tokenizer.token_to_id(first))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=first,
        eos_token="<|end_of_text|>",
        pad_token="<pad>",
        model_max_length=max_length,
        padding_side="right",
    )


def tiny_qwen_tokenizer(text: str = "", max_length: int = 2048) -> Qwen2Tokenizer:
    """A byte-level tokenizer of the class of Qwen 2.5, with its chat template.

    Args:
        known: A text, such as a template whose length in tokens matters: each of its words is one token.
        max_length: `model_max_length`.
    """
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import Qwen2Tokenizer

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=max_length)
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_SPECIAL)})
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in sorted(set(re.findall(" ?[A-Za-z]{2,}", text)))])
    tokenizer.chat_template = QWEN_CHAT
    return tokenizer
