"""What to intervene on, as data: one representation for each site, and how they run together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from causaltest.errors import InterventionError
from causaltest.sites import COMPONENTS
from causaltest.spelling import did_you_mean

MODES = ("parallel", "serial")


class RepresentationConfig(NamedTuple):
    """One site and what to do there.

    Attributes
    ----------
    layer
        Block index from 0; of no meaning where `component` is a module path.
    component
        A component such as `block_output`, that of one of several stacks of blocks such as
        `encoder.block_output`, or a module path that ends in `.input` or `.output`.
    unit
        `pos` (token positions), `h` (heads, at every position), `h.pos` (heads at positions) or `t`
        (call number of a module that runs once for each time step).
    max_number_of_units
        How many units are joined into one vector before a basis is applied to it.
    low_rank_dimension
        Width of the subspace; number of features or rank where a class has these.
    intervention_type
        A class; in its stead there may be an `intervention`, not both.
    intervention
        An instance or a plain function.
    subspace_partition
        Groups of dims that `subspaces` counts: `[lo, hi]` is a half-open range, any other list is
        the dims themselves.
    group_key
        Representations of one group take one source; set it on all or none.
    intervention_link_key
        Representations of one key share one intervention.
    moe_key
        Accepted for saved folders; must be None.
    source_representation
        A stored vector instead of a source run.
    hidden_source_representation
        Whether a saved folder holds such a vector.
    latent_dim
        Number of latents of an autoencoder.
    """

    layer: int = 0
    component: str = "block_output"
    unit: str = "pos"
    max_number_of_units: int = 1
    low_rank_dimension: int | None = None
    intervention_type: Any = None
    intervention: Any = None
    subspace_partition: Sequence[Any] | None = None
    group_key: Any = None
    intervention_link_key: Any = None
    moe_key: Any = None
    source_representation: Any = None
    hidden_source_representation: bool | None = None
    latent_dim: int | None = None

    @property
    def names_component(self) -> bool:
        """Whether `component` is one of a block, and no path to a module."""
        return self.component.rpartition(".")[2] in COMPONENTS

    @property
    def place(self) -> tuple[str, str]:
        """The stack of blocks, empty for the one that leads to the answer, and the component."""
        stack, _, component = self.component.rpartition(".")
        return stack, component

    @property
    def headed(self) -> bool:
        """Whether the component is one of heads."""
        return self.place[1].startswith("head_")


def as_representation(given: object) -> RepresentationConfig:
    """Return a representation that is written as one, as a mapping, or as a list of its fields.

    Raises
    ------
    InterventionError
        It is none of these, a field is unknown, or two fields contradict each other.
    """
    if isinstance(given, RepresentationConfig):
        made = given
    elif isinstance(given, Mapping):
        for name in given:
            if name not in RepresentationConfig._fields:
                meant = did_you_mean(str(name), RepresentationConfig._fields)
                raise InterventionError(
                    f"unknown field {name!r} of a representation{meant}\n"
                    f"fields: {', '.join(RepresentationConfig._fields)}"
                )
        made = RepresentationConfig(**given)
    elif isinstance(given, (list, tuple)) and len(given) <= len(RepresentationConfig._fields):
        made = RepresentationConfig(*given)
    else:
        raise InterventionError(
            f"a representation is a RepresentationConfig or a dict of its fields; got {given!r} "
            f"({type(given).__name__})"
        )
    if made.intervention is not None and made.intervention_type is not None:
        raise InterventionError(
            f"{made.component}: intervention and intervention_type are both given; give the class "
            "or the instance, not both"
        )
    if made.moe_key is not None:
        raise InterventionError(
            f"{made.component}: moe_key={made.moe_key!r} has no meaning here; name an expert by "
            "its "
            "module path, e.g. component='model.layers[0].mlp.experts[3].output'"
        )
    count = made.max_number_of_units
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InterventionError(
            f"{made.component}: max_number_of_units is {count!r}; expected a whole number from 1"
        )
    return made


class IntervenableConfig:
    """Representations, and how they run together.

    Parameters
    ----------
    representations
        One or several.
    intervention_types
        A class for all representations that name none of their own, or a list of one for each.
    mode
        `parallel` (every source runs unedited) or `serial` (each is edited by the one before).
    sorted_keys, model_type, intervention_dimensions, intervention_constant_sources
        Accepted for saved folders.

    Raises
    ------
    InterventionError
        An unknown mode or argument, or representations and types that do not match.

    Examples
    --------
    >>> config = IntervenableConfig({"layer": 2, "component": "mlp_output"})
    >>> config.representations[0].layer
    2
    """

    def __init__(
        self,
        representations: Any = None,
        intervention_types: Any = None,
        mode: str = "parallel",
        sorted_keys: Any = None,
        model_type: Any = None,
        intervention_dimensions: Any = None,
        intervention_constant_sources: Any = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            known = ("representations", "intervention_types", "mode")
            raise InterventionError(
                f"unknown argument {name!r} of IntervenableConfig{did_you_mean(name, known)}"
            )
        if mode not in MODES:
            raise InterventionError(
                f"mode is {mode!r}{did_you_mean(str(mode), MODES)}\nexpected parallel or serial"
            )
        if representations is None:
            representations = RepresentationConfig()
        one = isinstance(representations, (RepresentationConfig, Mapping))
        many: Iterable[Any] = [representations] if one else representations
        self.representations = [as_representation(each) for each in many]
        self.intervention_types = intervention_types
        self.mode = mode
        self.sorted_keys = sorted_keys
        self.model_type = model_type
        self.intervention_dimensions = intervention_dimensions
        self.intervention_constant_sources = intervention_constant_sources
        if not self.representations:
            raise InterventionError("a config needs at least one representation")

    def add_intervention(self, representations: Any) -> None:
        """Add one or several representations."""
        one = isinstance(representations, (RepresentationConfig, Mapping))
        many: Iterable[Any] = [representations] if one else representations
        self.representations += [as_representation(each) for each in many]

    def kinds(self, default: Any) -> list[Any]:
        """Return each representation's class, instance or function.

        Raises
        ------
        InterventionError
            A list of types of another length.
        """
        given = self.intervention_types
        if isinstance(given, (list, tuple)):
            if len(given) != len(self.representations):
                raise InterventionError(
                    f"{len(given)} intervention_types for {len(self.representations)} "
                    "representations; give one class, or one for each"
                )
            types = list(given)
        else:
            types = [given or default] * len(self.representations)
        found: list[Any] = []
        for each, other in zip(self.representations, types, strict=True):
            own = each.intervention if each.intervention is not None else each.intervention_type
            found.append(other if own is None else own)
        return found

    def __repr__(self) -> str:
        lines = [f"IntervenableConfig(mode={self.mode!r}, representations=["]
        for each in self.representations:
            shown = [
                f"{name}={'<tensor>' if hasattr(value, 'detach') else value!r}"
                for name, value in each._asdict().items()
                if value is not None
            ]
            lines.append(f"    RepresentationConfig({', '.join(shown)}),")
        return "\n".join([*lines, "])"])
