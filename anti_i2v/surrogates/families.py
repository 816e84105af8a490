"""Which class reads which pipeline. A new family is a file beside this one and its line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.surrogates.base import Surrogate

FAMILIES = {
    "CogVideoXImageToVideoPipeline": "anti_i2v.surrogates.cogvideox.CogVideoXSurrogate",
    "HunyuanVideoImageToVideoPipeline": "anti_i2v.surrogates.hunyuan_video.HunyuanVideoSurrogate",
    "I2VGenXLPipeline": "anti_i2v.surrogates.i2vgen_xl.I2VGenXLSurrogate",
    "LTXConditionPipeline": "anti_i2v.surrogates.ltx.LTXConditionSurrogate",
    "LTXImageToVideoPipeline": "anti_i2v.surrogates.ltx.LTXSurrogate",
    "LTXPipeline": "anti_i2v.surrogates.ltx.LTXSurrogate",
    "SkyReelsV2ImageToVideoPipeline": "anti_i2v.surrogates.wan_concat.WanConcatSurrogate",
    "StableVideoDiffusionPipeline": "anti_i2v.surrogates.svd.SVDSurrogate",
    "WanImageToVideoPipeline": "anti_i2v.surrogates.wan.WanSurrogate",
}
"""Class of a diffusers pipeline → class path of its surrogate, imported only when asked for."""


def family_of(source: str, index: Mapping[str, object]) -> type[Surrogate]:
    """The class for a pipeline, from its name and model_index.json.

    Raises:
        UsageError: There is none.
    """
    name = str(index.get("_class_name"))
    if name not in FAMILIES:
        raise UsageError(f"{source} is a {name}; supported pipelines: {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].rpartition(".")
    family: type[Surrogate] = getattr(importlib.import_module(module), attribute)
    return family.variant(source, index)
