"""Public image-to-video models at their real sizes: configurations without a weight.

`write_configuration` writes a pipeline's folder as it is published, but for weights and vocabularies: `anti-i2v plan` reads no
more than that, and `benchmarks.surrogate_step` fills it with random weights. Sizes are those of the published configurations;
entries that are not named have the defaults of diffusers and transformers. Tokenizers are of the published classes and know a
few letters; statistics of latents are 0 and 1. Neither changes what a step takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anti_i2v.evaluation.report import write_texts

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5TokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"


def t5_tokenizer(length: int) -> Callable[[], T5TokenizerFast]:
    """T5's and UMT5's: letters, and the special tokens at their own places."""

    def make() -> T5TokenizerFast:
        from transformers import T5TokenizerFast

        vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
        return T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=length)

    return make


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's: letters, and the special tokens at their own places."""
    from transformers import CLIPTokenizer

    pieces = {piece: i for i, piece in enumerate(p for letter in LETTERS for p in (letter, f"{letter}</w>"))}
    return CLIPTokenizer(vocab={**pieces, "<|startoftext|>": 49406, "<|endoftext|>": 49407}, merges=[], model_max_length=77)


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """LLaMA 3's with LLaVA's tokens: the special ones at their own places; words, and what is between them, are one token each."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|start_header_id|>": 128006, "<|end_header_id|>": 128007}
    special |= {"<|eot_id|>": 128009, "<image>": 128257, "<pad>": 128258}
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, **special}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="isolated")
    tokenizer.add_special_tokens(list(special))
    first = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, special[first])])
    roles = {"bos_token": first, "eos_token": "<|end_of_text|>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="right", model_max_length=512, **roles)


Settings = dict[str, Any]
Part = tuple[str, str, Settings | Callable[[], Any]]
"""Library, class, and what the part is configured with, or what makes it where it is no network."""


@dataclass(frozen=True)
class FullSize:
    """A public pipeline.

    Attributes:
        published: Where on the hub.
        pipeline: Its class.
        parts: Name → part.
        taps: Two layers of the denoiser, after about a third and two thirds of its blocks, and its last block.
        size: Height and width in pixels and number of frames that a step is asked about.
        options: What model_index.json holds beside parts.
    """

    published: str
    pipeline: str
    parts: Mapping[str, Part]
    taps: tuple[str, str, str]
    size: tuple[int, int, int] = (480, 832, 17)
    options: Mapping[str, object] = field(default_factory=dict)


XXL: Settings = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}
T5: Part = ("transformers", "T5EncoderModel", {**XXL, "vocab_size": 32128})
UMT5: Part = ("transformers", "UMT5EncoderModel", {**XXL, "vocab_size": 256384})
VIT_H: Settings = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14}
VIT_H |= {"image_size": 224, "projection_dim": 1024, "hidden_act": "gelu"}
SHOWN_TO_LLAVA: Settings = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
SHOWN_TO_CLIP: Part = ("transformers", "CLIPImageProcessor", {})

WAN_FLOW: Settings = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "num_train_timesteps": 1000}
WAN_PROMPTS: dict[str, Part] = {"tokenizer": ("transformers", "T5TokenizerFast", t5_tokenizer(512)), "text_encoder": UMT5}
WAN_22_VAE: Settings = {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12, "out_channels": 12}
WAN_22_VAE |= {"patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}

COGVIDEOX: Settings = {"in_channels": 32, "num_layers": 42, "num_attention_heads": 48, "use_rotary_positional_embeddings": True}
COGVIDEOX_15: Settings = {**COGVIDEOX, "patch_size_t": 2, "patch_bias": False, "ofs_embed_dim": 512}
COGVIDEOX_15 |= {"sample_height": 300, "sample_width": 300, "sample_frames": 81}
COGVIDEOX_STEPS: Settings = {"prediction_type": "v_prediction", "snr_shift_scale": 1.0, "rescale_betas_zero_snr": True}
COGVIDEOX_OTHERS: dict[str, Part] = {
    "tokenizer": ("transformers", "T5Tokenizer", t5_tokenizer(226)),
    "text_encoder": T5,
    "scheduler": ("diffusers", "CogVideoXDDIMScheduler", {**COGVIDEOX_STEPS, "timestep_spacing": "trailing"}),
}
COGVIDEOX_TAPS = ("transformer_blocks.13", "transformer_blocks.27", "transformer_blocks.41")

LTX_SHIFT: Settings = {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "shift_terminal": 0.1}
LTX_SHIFT |= {"base_image_seq_len": 1024, "max_image_seq_len": 4096}

SVD_VAE: Settings = {"block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4, "layers_per_block": 2}
SVD_STEPS: Settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SVD_STEPS |= {"prediction_type": "v_prediction", "timestep_type": "continuous", "timestep_spacing": "leading"}
SVD_STEPS |= {"use_karras_sigmas": True, "sigma_max": 700.0, "sigma_min": 0.002}

SIGHT: Settings = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
SIGHT |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768}
LLAMA: Settings = {"model_type": "llama", "vocab_size": 128320, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
LLAMA |= {"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "rope_theta": 500000.0}
LLAVA: Settings = {"vision_config": SIGHT, "text_config": LLAMA, "image_token_index": 128257, "pad_token_id": 128258}
CLIP_TEXT: Settings = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
CLIP_TEXT |= {"num_attention_heads": 12, "projection_dim": 768, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}

MODELS = {
    "cogvideox-5b-i2v": FullSize(
        "THUDM/CogVideoX-5b-I2V",
        "CogVideoXImageToVideoPipeline",
        {
            "transformer": ("diffusers", "CogVideoXTransformer3DModel", {**COGVIDEOX, "use_learned_positional_embeddings": True}),
            "vae": ("diffusers", "AutoencoderKLCogVideoX", {"scaling_factor": 0.7}),
            **COGVIDEOX_OTHERS,
        },
        COGVIDEOX_TAPS,
        (480, 720, 49),  # the only size that it has learned positions for
    ),
    "cogvideox-1.5-5b-i2v": FullSize(
        "THUDM/CogVideoX1.5-5B-I2V",
        "CogVideoXImageToVideoPipeline",
        {
            "transformer": ("diffusers", "CogVideoXTransformer3DModel", COGVIDEOX_15),
            "vae": ("diffusers", "AutoencoderKLCogVideoX", {"scaling_factor": 0.7, "invert_scale_latents": True}),
            **COGVIDEOX_OTHERS,
        },
        COGVIDEOX_TAPS,
    ),
    "wan-2.1-i2v-14b-480p": FullSize(
        "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        "WanImageToVideoPipeline",
        {
            "transformer": ("diffusers", "WanTransformer3DModel", {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}),
            "vae": ("diffusers", "AutoencoderKLWan", {}),
            "image_encoder": ("transformers", "CLIPVisionModel", VIT_H),
            "image_processor": SHOWN_TO_CLIP,
            "scheduler": ("diffusers", "UniPCMultistepScheduler", {**WAN_FLOW, "flow_shift": 3.0}),
            **WAN_PROMPTS,
        },
        ("blocks.13", "blocks.26", "blocks.39"),
    ),
    "wan-2.2-ti2v-5b": FullSize(
        "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        "WanImageToVideoPipeline",
        {
            "transformer": (
                "diffusers",
                "WanTransformer3DModel",
                {"in_channels": 48, "out_channels": 48, "num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336},
            ),
            "vae": ("diffusers", "AutoencoderKLWan", WAN_22_VAE),
            "scheduler": ("diffusers", "UniPCMultistepScheduler", {**WAN_FLOW, "flow_shift": 5.0}),
            **WAN_PROMPTS,
        },
        ("blocks.9", "blocks.19", "blocks.29"),
        options={"expand_timesteps": True},
    ),
    "ltx-video-2b": FullSize(
        "Lightricks/LTX-Video",
        "LTXPipeline",
        {
            "transformer": ("diffusers", "LTXVideoTransformer3DModel", {}),
            "vae": ("diffusers", "AutoencoderKLLTXVideo", {}),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", LTX_SHIFT),
            "tokenizer": ("transformers", "T5Tokenizer", t5_tokenizer(128)),
            "text_encoder": T5,
        },
        ("transformer_blocks.9", "transformer_blocks.18", "transformer_blocks.27"),
    ),
    "svd-xt": FullSize(
        "stabilityai/stable-video-diffusion-img2vid-xt",
        "StableVideoDiffusionPipeline",
        {
            "unet": ("diffusers", "UNetSpatioTemporalConditionModel", {}),
            "vae": ("diffusers", "AutoencoderKLTemporalDecoder", SVD_VAE),
            "image_encoder": ("transformers", "CLIPVisionModelWithProjection", VIT_H),
            "feature_extractor": SHOWN_TO_CLIP,
            "scheduler": ("diffusers", "EulerDiscreteScheduler", SVD_STEPS),
        },
        ("down_blocks.2", "up_blocks.0", "up_blocks.3"),
    ),
    "hunyuan-video-i2v": FullSize(
        "hunyuanvideo-community/HunyuanVideo-I2V",
        "HunyuanVideoImageToVideoPipeline",
        {
            "transformer": ("diffusers", "HunyuanVideoTransformer3DModel", {"image_condition_type": "token_replace"}),
            "vae": ("diffusers", "AutoencoderKLHunyuanVideo", {}),
            "text_encoder": ("transformers", "LlavaForConditionalGeneration", LLAVA),
            "tokenizer": ("transformers", "LlamaTokenizerFast", llama_tokenizer),
            "text_encoder_2": ("transformers", "CLIPTextModel", CLIP_TEXT),
            "tokenizer_2": ("transformers", "CLIPTokenizer", clip_tokenizer),
            "image_processor": ("transformers", "CLIPImageProcessor", SHOWN_TO_LLAVA),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {"shift": 7.0}),
        },
        ("transformer_blocks.19", "single_transformer_blocks.19", "single_transformer_blocks.39"),
    ),
}
"""Name → pipeline."""


def write_configuration(model: FullSize, folder: Path) -> Path:
    """Write a pipeline's folder without weights and return it; existing files of the same names are replaced."""
    import diffusers
    import transformers

    index: dict[str, object] = {"_class_name": model.pipeline, **model.options}
    for name, (library, kind, settings) in model.parts.items():
        index[name] = [library, kind]
        if callable(settings):
            settings().save_pretrained(folder / name)
        elif library == "diffusers":
            # Made, so that what is written has every entry, as published configurations do.
            with torch.device("cpu" if kind.endswith("Scheduler") else "meta"):
                getattr(diffusers, kind)(**settings).save_config(folder / name)
        else:
            network = getattr(transformers, kind)
            getattr(network, "config_class", network)(**settings).save_pretrained(folder / name)
    write_texts(folder, {"model_index.json": json.dumps(index, indent=2) + "\n"})
    return folder
