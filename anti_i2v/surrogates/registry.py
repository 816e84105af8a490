"""Which class reads which source. A new family is a file in `families/` and its line here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.autoencoders.source import find_autoencoder
from anti_i2v.surrogates.loading import read_index

if TYPE_CHECKING:
    from anti_i2v.surrogates.base import Surrogate
    from anti_i2v.surrogates.pipeline import PipelineSurrogate

FAMILIES = {
    "CogVideoXImageToVideoPipeline": "anti_i2v.surrogates.families.cogvideox.CogVideoXSurrogate",
    "Cosmos2VideoToWorldPipeline": "anti_i2v.surrogates.families.cosmos2.Cosmos2Surrogate",
    "HunyuanVideo15ImageToVideoPipeline": "anti_i2v.surrogates.families.hunyuan_video15.HunyuanVideo15Surrogate",
    "HunyuanVideoFramepackPipeline": "anti_i2v.surrogates.families.framepack.FramePackSurrogate",
    "HunyuanVideoImageToVideoPipeline": "anti_i2v.surrogates.families.hunyuan_video.HunyuanVideoSurrogate",
    "I2VGenXLPipeline": "anti_i2v.surrogates.families.i2vgen_xl.I2VGenXLSurrogate",
    "Kandinsky5I2VPipeline": "anti_i2v.surrogates.families.kandinsky5.Kandinsky5Surrogate",
    "LTX2ImageToVideoPipeline": "anti_i2v.surrogates.families.ltx2.LTX2Surrogate",
    "LTX2Pipeline": "anti_i2v.surrogates.families.ltx2.LTX2Surrogate",
    "LTXConditionPipeline": "anti_i2v.surrogates.families.ltx.LTXConditionSurrogate",
    "LTXImageToVideoPipeline": "anti_i2v.surrogates.families.ltx.LTXSurrogate",
    "LTXPipeline": "anti_i2v.surrogates.families.ltx.LTXSurrogate",
    "SanaImageToVideoPipeline": "anti_i2v.surrogates.families.sana_video.SanaVideoSurrogate",
    "SanaVideoPipeline": "anti_i2v.surrogates.families.sana_video.SanaVideoSurrogate",
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": "anti_i2v.surrogates.families.skyreels_df.SkyReelsV2DFSurrogate",
    "SkyReelsV2DiffusionForcingPipeline": "anti_i2v.surrogates.families.skyreels_df.SkyReelsV2DFSurrogate",
    "SkyReelsV2ImageToVideoPipeline": "anti_i2v.surrogates.families.wan_concat.WanConcatSurrogate",
    "StableVideoDiffusionPipeline": "anti_i2v.surrogates.families.svd.SVDSurrogate",
    "WanImageToVideoPipeline": "anti_i2v.surrogates.families.wan.WanSurrogate",
}
"""Class of a diffusers pipeline → class path of its surrogate, imported only when needed."""


AUTOENCODER = "anti_i2v.surrogates.autoencoder.AutoencoderSurrogate"
"""Class path of the surrogate for an autoencoder alone."""


def find_class(source: str) -> type[Surrogate]:
    """The subclass of `Surrogate` for a source, as `Surrogate.from_pretrained` takes it.

    Raises:
        UsageError: There is nothing by that name, or nothing that is supported.
    """
    if find_autoencoder(source) is not None:
        return _import(AUTOENCODER)
    return find_family(source, read_index(source)[1])


def find_family(source: str, index: Mapping[str, object]) -> type[PipelineSurrogate]:
    """The subclass of `PipelineSurrogate` for a pipeline, from its name and model_index.json; imported only now, by its class path.

    Raises:
        UsageError: There is none.
    """
    name = str(index.get("_class_name"))
    if name not in FAMILIES:
        description = f"{name}, which takes no photo" if _takes_no_photo(name) else name
        raise UsageError(
            f"{source} is a {description}; supported pipelines: {', '.join(sorted(FAMILIES))}; another one is a file in "
            "anti_i2v/surrogates/families and a line in anti_i2v/surrogates/registry.py"
        )
    family: type[PipelineSurrogate] = _import(FAMILIES[name]).variant(source, index)  # type: ignore[attr-defined]
    return family


def _import(class_path: str) -> type[Surrogate]:
    module, _, attribute = class_path.rpartition(".")
    found: type[Surrogate] = getattr(importlib.import_module(module), attribute)
    return found


def _takes_no_photo(name: str) -> bool:
    """Whether diffusers has a pipeline of that name whose call has no place for a picture, such as one from text to video."""
    import diffusers

    pipeline = getattr(diffusers, name, None)
    return pipeline is not None and not any("image" in parameter for parameter in inspect.signature(pipeline.__call__).parameters)
