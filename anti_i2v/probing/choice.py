"""Which layers to attack, from their scores, and the file that says so: `taps.yaml`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anti_i2v.errors import UsageError
from anti_i2v.probing.blocks import Kind, kind_of
from anti_i2v.probing.study import Row

NOISY = 0.5
"""Steps with at least this share of noise decide: there a video model settles what happens, and an attack is trained there."""

STEPS = f"of the later latent frames where there are any, averaged over the steps whose share of noise is at least {NOISY}, or the noisiest"
GAIN = "gain (relative change of the layer by relative change of the photo, attacked)"
RULE_KNOWN = f"subject x person x {GAIN}; R^2 of a linear probe for the subject and ICC of the person, each at least 0; {STEPS}"
RULE_UNKNOWN = (
    f"coherence (neighbouring places' cosine less all others') x {GAIN}; {STEPS}; because masks and identities are not known, "
    "or too few to find subject and person in any layer"
)
RULE_LAYERS = "deep: the highest scores, never the first layer; shallow: the lowest score before the first deep layer"


@dataclass(frozen=True)
class Choice:
    """Layers in the order of computation.

    Attributes:
        deep: Of the highest score.
        shallow: Of the lowest before them.
        rule: How they were chosen, in words.
        scores: Layer → score, of all.
    """

    deep: list[str]
    shallow: str
    rule: str
    scores: dict[str, float]


def layer_scores(rows: Sequence[Row]) -> tuple[dict[str, float], str]:
    """Layer → score, in the order of the rows, and the rule in words.

    What a layer carries counts only as far as a change of the photo changes it: layers that distinguish people well but hardly
    change were no better to train against than the first ones (docs/LOG.md, 2026-11-23).
    """
    noisiest = max(row.sigma for row in rows)
    used = [row for row in rows if row.sigma >= min(NOISY, noisiest)]
    # max(0, nan) is 0: what is not known counts as nothing
    scores = _means(used, lambda row: max(0.0, _figure(row, "subject")) * max(0.0, _figure(row, "person")) * _gain(row))
    if max(scores.values()) > 0:
        return scores, RULE_KNOWN
    return _means(used, lambda row: _figure(row, "coherence") * _gain(row)), RULE_UNKNOWN


def _means(rows: Sequence[Row], score: Callable[[Row], float]) -> dict[str, float]:
    """Layer → mean of its finite scores; 0 if there are none."""
    by_layer: dict[str, list[float]] = {row.layer: [] for row in rows}
    for row in rows:
        value = score(row)
        by_layer[row.layer] += [value] * math.isfinite(value)
    return {layer: sum(values) / max(len(values), 1) for layer, values in by_layer.items()}


def _figure(row: Row, name: str) -> float:
    """The figure of the later frames; of a clip of one latent frame that of the first."""
    return row.figures.get(f"{name}_later", row.figures.get(f"{name}_first", math.nan))


def _gain(row: Row) -> float:
    """How far an attack on the layer moves it; 1 where no photo was attacked, so that the other factors decide alone."""
    gain = _figure(row, "attack")
    return 1.0 if math.isnan(gain) else gain


def choose(rows: Sequence[Row], count: int = 3) -> Choice:
    """Choose deep layers and a shallow one, as `RULE_LAYERS` says; of equal scores the deeper is deep, the first shallow.

    Args:
        rows: Of a study, layers in the order of computation.
        count: Number of deep layers.

    Raises:
        UsageError: Fewer layers than that and a shallow one.
    """
    scores, rule = layer_scores(rows)
    layers = list(scores)
    if not 1 <= count < len(layers):
        raise UsageError(f"--count {count} of {len(layers)} layers; choose 1 … {len(layers) - 1}, because one is left as the shallow one")
    order = sorted(range(1, len(layers)), key=lambda i: (-scores[layers[i]], -i))
    deep = sorted(order[:count])
    shallow = min(range(deep[0]), key=lambda i: scores[layers[i]])
    return Choice([layers[i] for i in deep], layers[shallow], f"{rule}; {RULE_LAYERS}", scores)


def as_yaml(choice: Choice, kind: Kind, facts: Mapping[str, object]) -> str:
    """The text of a `taps.yaml`."""
    import yaml

    content = {
        "surrogate": kind.source,
        "pipeline": kind.pipeline,
        "denoiser": kind.denoiser,
        "blocks": kind.blocks,
        "configuration": kind.configuration,
        "deep": choice.deep,
        "shallow": choice.shallow,
        "rule": choice.rule,
        "scores": {layer: round(score, 5) for layer, score in choice.scores.items()},
        **facts,
    }
    text: str = yaml.safe_dump(content, sort_keys=False, width=140, allow_unicode=True)
    return "# Written by `anti-i2v layers`. A training that says `taps: auto` attacks the deep layers.\n" + text


def read_choice(path: Path, source: str) -> Choice:
    """What a `taps.yaml` says, for a surrogate that it was made for.

    Args:
        path: The file.
        source: Of the surrogate, as in `Surrogate.from_pretrained`; its weights are not read.

    Raises:
        UsageError: No such file, it is no taps file, it was made for another surrogate, or it names layers that this one lacks.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        classes = {name: str(content[name]) for name in ("pipeline", "denoiser", "configuration")}
        origin = Kind(str(content["surrogate"]), **classes, blocks=int(content["blocks"]))
        choice = Choice([str(tap) for tap in content["deep"]], str(content["shallow"]), str(content["rule"]), dict(content["scores"]))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"cannot read {path} as a taps file ({reason}); `anti-i2v layers --surrogate {source}` writes one") from error
    kind, denoiser = kind_of(source)
    if not origin.same(kind):
        raise UsageError(f"{path} was made for {origin}, not for {kind}; `anti-i2v layers --surrogate {source}` makes one for it")
    layers = dict(denoiser.named_modules())
    missing = [tap for tap in (*choice.deep, choice.shallow) if tap not in layers]
    if missing or not choice.deep:
        lacking = ", ".join(missing) or "no deep layers"
        raise UsageError(f"{path} names {lacking}, which {source} lacks; `anti-i2v layers --surrogate {source}` makes one for it")
    return choice


def read_taps(path: Path, source: str) -> list[str]:
    """The deep layers of a `taps.yaml`; see `read_choice`."""
    return read_choice(path, source).deep
