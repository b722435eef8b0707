"""causaltest: hypotheses about neural networks as tests, with effects, intervals and verdicts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from causaltest.spelling import did_you_mean

if TYPE_CHECKING:
    from causaltest.cache import Cache as Cache
    from causaltest.causal_models import CausalModel as CausalModel
    from causaltest.circuits import Circuit as Circuit
    from causaltest.circuits import CircuitEdge as CircuitEdge
    from causaltest.engine import Model as Model
    from causaltest.errors import CausalModelError as CausalModelError
    from causaltest.errors import CausaltestError as CausaltestError
    from causaltest.errors import EvidenceError as EvidenceError
    from causaltest.errors import Inconclusive as Inconclusive
    from causaltest.errors import InterventionError as InterventionError
    from causaltest.errors import MetricError as MetricError
    from causaltest.errors import ModelError as ModelError
    from causaltest.errors import PairError as PairError
    from causaltest.errors import RecordError as RecordError
    from causaltest.errors import SiteError as SiteError
    from causaltest.experiment import Causal as Causal
    from causaltest.grids import SweepGrid as SweepGrid
    from causaltest.interventions import adapter as adapter
    from causaltest.interventions import add as add
    from causaltest.interventions import add_features as add_features
    from causaltest.interventions import apply_function as apply_function
    from causaltest.interventions import autoencoder as autoencoder
    from causaltest.interventions import boundless as boundless
    from causaltest.interventions import constant as constant
    from causaltest.interventions import freeze as freeze
    from causaltest.interventions import from_source as from_source
    from causaltest.interventions import interchange as interchange
    from causaltest.interventions import low_rank as low_rank
    from causaltest.interventions import mean_ablate as mean_ablate
    from causaltest.interventions import noise as noise
    from causaltest.interventions import partition as partition
    from causaltest.interventions import pca as pca
    from causaltest.interventions import resample_ablate as resample_ablate
    from causaltest.interventions import rotated as rotated
    from causaltest.interventions import scale as scale
    from causaltest.interventions import scale_features as scale_features
    from causaltest.interventions import set_features as set_features
    from causaltest.interventions import sigmoid_mask as sigmoid_mask
    from causaltest.interventions import skip as skip
    from causaltest.interventions import subtract as subtract
    from causaltest.interventions import zero_ablate as zero_ablate
    from causaltest.interventions import zero_features as zero_features
    from causaltest.metrics import Metric as Metric
    from causaltest.metrics import answers_with as answers_with
    from causaltest.metrics import log_probability as log_probability
    from causaltest.metrics import logit_diff as logit_diff
    from causaltest.metrics import probability as probability
    from causaltest.metrics import recovery as recovery
    from causaltest.pairs import Pair as Pair
    from causaltest.pairs import Pairs as Pairs
    from causaltest.sharing import from_pretrained as from_pretrained
    from causaltest.sharing import load as load
    from causaltest.sharing import push_to_hub as push_to_hub
    from causaltest.sharing import read_pyvene as read_pyvene
    from causaltest.sharing import save as save
    from causaltest.sites import Site as Site
    from causaltest.sites import attention_input as attention_input
    from causaltest.sites import attention_output as attention_output
    from causaltest.sites import attention_value_output as attention_value_output
    from causaltest.sites import block_input as block_input
    from causaltest.sites import block_output as block_output
    from causaltest.sites import embedding as embedding
    from causaltest.sites import expert_output as expert_output
    from causaltest.sites import head_attention_value_output as head_attention_value_output
    from causaltest.sites import head_key_output as head_key_output
    from causaltest.sites import head_query_output as head_query_output
    from causaltest.sites import head_value_output as head_value_output
    from causaltest.sites import key_output as key_output
    from causaltest.sites import mixer_input as mixer_input
    from causaltest.sites import mixer_output as mixer_output
    from causaltest.sites import mlp_activation as mlp_activation
    from causaltest.sites import mlp_input as mlp_input
    from causaltest.sites import mlp_output as mlp_output
    from causaltest.sites import module as module
    from causaltest.sites import query_output as query_output
    from causaltest.sites import router_output as router_output
    from causaltest.sites import value_output as value_output
    from causaltest.stats import Consistency as Consistency
    from causaltest.stats import Controls as Controls
    from causaltest.stats import Curve as Curve
    from causaltest.stats import Effect as Effect
    from causaltest.stats import Grid as Grid
    from causaltest.stats import Judge as Judge
    from causaltest.stats import Rate as Rate
    from causaltest.stats import Ratio as Ratio
    from causaltest.stats import Verdict as Verdict
    from causaltest.stats import all_of as all_of
    from causaltest.stats import double_dissociation as double_dissociation
    from causaltest.stats import interaction as interaction
    from causaltest.sweeps.graphs import read_circuit as read_circuit

__version__ = "0.1.0"

_PUBLIC = {
    "causaltest.errors": (
        "CausalModelError",
        "CausaltestError",
        "SiteError",
        "PairError",
        "ModelError",
        "InterventionError",
        "MetricError",
        "EvidenceError",
        "RecordError",
        "Inconclusive",
    ),
    "causaltest.stats": (
        "Effect",
        "Rate",
        "Ratio",
        "Grid",
        "Curve",
        "Controls",
        "Consistency",
        "Verdict",
        "Judge",
        "all_of",
        "double_dissociation",
        "interaction",
    ),
    "causaltest.grids": ("SweepGrid",),
    "causaltest.pairs": ("Pair", "Pairs"),
    "causaltest.sites": (
        "Site",
        "block_input",
        "block_output",
        "mlp_input",
        "mlp_activation",
        "mixer_input",
        "mixer_output",
        "mlp_output",
        "attention_input",
        "attention_output",
        "attention_value_output",
        "query_output",
        "key_output",
        "value_output",
        "head_attention_value_output",
        "head_query_output",
        "head_key_output",
        "head_value_output",
        "router_output",
        "expert_output",
        "embedding",
        "module",
    ),
    "causaltest.interventions": (
        "interchange",
        "from_source",
        "freeze",
        "zero_ablate",
        "mean_ablate",
        "resample_ablate",
        "noise",
        "add",
        "subtract",
        "constant",
        "scale",
        "skip",
        "apply_function",
        "adapter",
        "rotated",
        "low_rank",
        "boundless",
        "sigmoid_mask",
        "pca",
        "partition",
        "autoencoder",
        "zero_features",
        "set_features",
        "add_features",
        "scale_features",
    ),
    "causaltest.cache": ("Cache",),
    "causaltest.causal_models": ("CausalModel",),
    "causaltest.circuits": ("Circuit", "CircuitEdge"),
    "causaltest.sweeps.graphs": ("read_circuit",),
    "causaltest.metrics": (
        "Metric",
        "logit_diff",
        "recovery",
        "probability",
        "log_probability",
        "answers_with",
    ),
    "causaltest.sharing": ("save", "load", "push_to_hub", "from_pretrained", "read_pyvene"),
    "causaltest.engine": ("Model",),
    "causaltest.experiment": ("Causal",),
}
"""Public names by the module that defines them; each module is imported on first use."""

_HOMES = {name: home for home, names in _PUBLIC.items() for name in names}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    message = f"module 'causaltest' has no attribute {name!r}"
    # The import system probes for `__path__` and the like: those deserve no guess.
    if not name.startswith("_"):
        message += did_you_mean(name, _HOMES)
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
