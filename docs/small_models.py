"""Small random networks of the model classes of transformers, to measure which ones conform."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from causaltest.engine.conformance import Report, conformance
from causaltest.engine.model import Model
from causaltest.errors import ModelError
from causaltest.pairs import Prompt
from causaltest.spelling import did_you_mean
from small_forwards import OF_FAMILY, OF_KIND
from small_settings import OFF_BY_DEFAULT, SMALL, TWEAKS

KINDS: dict[str, tuple[str, ...]] = {
    "causal language models": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",),
    "encoders": ("MODEL_FOR_MASKED_LM_MAPPING_NAMES",),
    "encoder-decoders": ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",),
    "vision": ("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",),
    "speech": (
        "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES", "MODEL_FOR_CTC_MAPPING_NAMES",
    ),
    "image and text": ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """One model class to be measured.

    Parameters
    ----------
    kind
        A key of `KINDS`.
    model_type
        transformers' name of the family.
    network_class
        Name of the class.
    """

    kind: str
    model_type: str
    network_class: str


def subjects(kind: str) -> tuple[Subject, ...]:
    """List the model classes of a kind that the installed transformers has, each once.

    Raises
    ------
    ModelError
        The kind is unknown.
    """
    from transformers.models.auto import modeling_auto

    if kind not in KINDS:
        raise ModelError(f"unknown kind of model {kind!r}{did_you_mean(kind, KINDS)}")
    found: dict[tuple[str, str], Subject] = {}
    for mapping in KINDS[kind]:
        for model_type, name in getattr(modeling_auto, mapping, {}).items():
            for each in (name,) if isinstance(name, str) else name:
                found.setdefault((model_type, each), Subject(kind, model_type, each))
    return tuple(found.values())


def small_config(config_class: Any, changes: Mapping[str, Any]) -> Any:
    """Return a configuration with small sizes, nested ones included.

    Parameters
    ----------
    config_class
        A configuration class of transformers.
    changes
        Settings that win over the small ones: a mapping for a nested configuration, ... for
        what is to keep its default.
    """
    default = _default(config_class, changes)
    settings = {
        name: SMALL[name] for name, value in default.to_dict().items()
        if name in SMALL and not isinstance(value, (list, tuple, dict))
        and not (value is None and name in OFF_BY_DEFAULT)
    }  # fmt: skip
    for name in getattr(config_class, "sub_configs", None) or {}:
        nested = getattr(default, name, None)
        if nested is not None:
            inner = changes.get(name, {})
            settings[name] = small_config(type(nested), inner).to_dict()
    for name, value in changes.items():
        if value is ...:
            settings.pop(name, None)
        elif name not in settings or not isinstance(value, Mapping):
            settings[name] = value
    return config_class(**settings)


def _default(config_class: Any, changes: Mapping[str, Any]) -> Any:
    """Return a configuration as it comes, or with some changes where it does not come without."""
    try:
        return config_class()
    except (StrictDataclassError, ValueError):
        return config_class(**{name: each for name, each in changes.items() if each is not ...})


def small_network(subject: Subject) -> nn.Module:
    """Return a small network of a class, with random weights that do not depend on the run."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    network_class = getattr(transformers, subject.network_class)
    changes = {**TWEAKS.get(subject.model_type, {}), **TWEAKS.get(subject.network_class, {})}
    config = small_config(CONFIG_MAPPING[subject.model_type], changes)
    wanted = network_class.config_class
    for name in ("text_config", "decoder"):
        nested = getattr(config, name, None)
        if not isinstance(config, wanted) and isinstance(nested, wanted):
            config = nested
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = network_class(config).eval()
    _randomise(network)
    return network


def _randomise(network: nn.Module) -> None:
    """Draw weights large enough that every part matters, gains around 1."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and name.endswith("weight")
            # Convolutions of few inputs would let pictures fade on the way through many blocks.
            kernel = parameter.ndim == 4
            size = max(0.15, 1.5 * parameter[0].numel() ** -0.5) if kernel else 0.15
            parameter.copy_(1 + 0.2 * noise if gain else size * noise)


_PROMPTS: dict[str, tuple[Prompt, Prompt]] = {
    "vision": ((9,), (23,)),
    "speech": ((9, 12, 30, 41, 17, 25), (23, 33, 11, 19, 28, 40)),
    "image and text": ((9, 12, 30, 41, 17, 25), (23, 33, 11, 19, 28, 40)),
}


def measure(subject: Subject) -> Report:
    """Build a small network of a class and try conformance on it.

    Examples
    --------
    >>> measure(Subject("causal language models", "gpt2", "GPT2LMHeadModel")).passed
    True
    """
    network = small_network(subject)
    forward = (
        OF_FAMILY.get(subject.network_class)
        or OF_FAMILY.get(subject.model_type)
        or OF_KIND.get(subject.kind)
    )
    model = Model(network, name=subject.model_type, forward=forward)
    return conformance(model, _PROMPTS.get(subject.kind))
