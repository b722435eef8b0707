"""Functions that make interventions: what replaces an activation, or how it is changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from causaltest.errors import InterventionError
from causaltest.interventions.arrays import Array, shaped, vector
from causaltest.interventions.base import some_sites
from causaltest.interventions.kinds import (
    Adapter,
    Addition,
    Constant,
    Function,
    FunctionEdit,
    Interchange,
    MeanAblation,
    Noise,
    ResampleAblation,
    Scaling,
    Skip,
    Subtraction,
    ZeroAblation,
)
from causaltest.interventions.subspaces import Subspace
from causaltest.pairs import Pairs
from causaltest.sites import Site


def interchange(*sites: Site | Subspace, subspace: Subspace | None = None) -> Interchange:
    """Replace the activation at each site by the one from the pair's source run.

    Parameters
    ----------
    sites
        One or more sites, all edited in the same forward pass; or one subspace that knows its site.
    subspace
        Replace only this part of the activation, e.g. `rotated(R, k=8)`; its docstring has the
        formula. None for all of it. Dims of a site: `block_output(2, dims=(0, 3))`.

    Returns
    -------
    Interchange

    Raises
    ------
    InterventionError
        No site, something that is not a site, the same site twice, or a subspace of another site.

    Notes
    -----
    new = source. Interchange intervention, Geiger et al. 2021 (arXiv 2106.02997), definition 2.
    Edits at one site compose in the order written: of `interchange(s, subspace=a) +
    interchange(s, subspace=b)` the second sees what the first left, so that where a and b overlap
    b has the last word.

    Examples
    --------
    >>> from causaltest.sites import block_output
    >>> str(interchange(block_output(2, pos="name")))
    'interchange(block_output[2]@name)'
    """
    if len(sites) == 1 and isinstance(sites[0], Subspace):
        (only,) = sites
        assert isinstance(only, Subspace)
        if subspace is not None or only.site is None:
            raise InterventionError(
                f"interchange({only}) does not say where: name a site, interchange(site, "
                "subspace=...), or place it, interchange(subspace.at(site))"
            )
        return Interchange((only.site,), only)
    places = tuple(site for site in sites if not isinstance(site, Subspace))
    if len(places) < len(sites):
        raise InterventionError(
            "interchange takes one subspace, or sites; add up several: interchange(a) + "
            "interchange(b)"
        )
    return Interchange(some_sites(places, "interchange"), subspace)


def zero_ablate(*sites: Site, subspace: Subspace | None = None) -> ZeroAblation:
    """Set the activation at each site to zero.

    Parameters
    ----------
    sites
        One or more sites.
    subspace
        As for `interchange`.

    Returns
    -------
    ZeroAblation

    Raises
    ------
    InterventionError
        No site, something that is not a site, or the same site twice.

    Notes
    -----
    new = 0. Within a subspace the source of its formula is 0; to switch features of an autoencoder
    off, see `zero_features`.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(zero_ablate(mlp_output(0)))
    'zero_ablate(mlp_output[0])'
    """
    return ZeroAblation(some_sites(sites, "zero_ablate"), subspace)


def mean_ablate(
    *sites: Site, over: Pairs | None = None, subspace: Subspace | None = None
) -> MeanAblation:
    """Replace the activation at each site by its mean over a reference pair set.

    The mean is one vector for each site: over all base and source prompts of the reference set and
    all tokens the site's position names.

    Parameters
    ----------
    sites
        One or more sites.
    over
        The reference pair set; None takes the pairs the claim is about.
    subspace
        As for `interchange`.

    Returns
    -------
    MeanAblation

    Raises
    ------
    InterventionError
        No site, something that is not a site, or the same site twice.

    Notes
    -----
    new = mean. Wang et al. 2022 (arXiv 2211.00593), section 2.1, with the reference distribution
    named by `over`.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(mean_ablate(mlp_output(0, pos="end")))
    'mean_ablate(mlp_output[0]@end)'
    """
    return MeanAblation(some_sites(sites, "mean_ablate"), subspace, over=over)


def resample_ablate(
    *sites: Site,
    over: Pairs | None = None,
    seed: int = 0,
    draws: int = 10,
    subspace: Subspace | None = None,
) -> ResampleAblation:
    """Replace the activation at each site by that of another base prompt, drawn at random.

    Every pair has its own random stream, so results depend neither on order nor on batching;
    the metric is averaged over the draws within each pair.

    Parameters
    ----------
    sites
        One or more sites; in one draw all take their activation from the same prompt.
    over
        Where prompts are drawn from; None takes the pairs the claim is about.
    seed
        Root of the random streams.
    draws
        Draws averaged within each pair.
    subspace
        As for `interchange`.

    Returns
    -------
    ResampleAblation

    Raises
    ------
    InterventionError
        No site, something that is not a site, the same site twice, or draws below 1.

    Notes
    -----
    new = activation of the drawn prompt. Resample ablation, Chan et al. 2022 (causal scrubbing).

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> str(resample_ablate(mlp_output(0, pos="end"), draws=3))
    'resample_ablate(mlp_output[0]@end, draws=3)'
    """
    return ResampleAblation(
        some_sites(sites, "resample_ablate"), subspace, over=over, seed=seed, draws_per_pair=draws
    )


def noise(*sites: Site, sd: float, seed: int = 0, draws: int = 10) -> Noise:
    """Add independent Gaussian noise to the activation at each site.

    Parameters
    ----------
    sites
        One or more sites.
    sd
        Standard deviation, in units of the activation itself.
    seed
        Root of the random streams; every pair, site and draw has its own.
    draws
        Draws averaged within each pair.

    Returns
    -------
    Noise

    Raises
    ------
    InterventionError
        No site, the same site twice, a standard deviation that is not positive, draws below 1.

    Notes
    -----
    new = base + sd * e, e independent standard normal. Causal tracing's corruption, Meng et al.
    2022 (arXiv 2202.05262), section 2.1.

    Examples
    --------
    >>> from causaltest.sites import embedding
    >>> str(noise(embedding(pos="name"), sd=0.5))
    'noise(embedding@name, sd=0.5, draws=10)'
    """
    return Noise(some_sites(sites, "noise"), sd=float(sd), seed=seed, draws_per_pair=draws)


def add(site: Site, vector: Iterable[float] | Any, *, scale: float = 1.0) -> Addition:
    """Add a fixed vector, times a scale, to the activation at a site.

    Parameters
    ----------
    site
        Where to add.
    vector
        As many numbers as the site is wide: a list, an array or a one-dimensional tensor, which may
        be one that is trained.
    scale
        Factor on the vector.

    Returns
    -------
    Addition

    Raises
    ------
    InterventionError
        The vector is empty, not one-dimensional, or holds numbers that are not finite.

    Notes
    -----
    new = base + scale * vector. Activation addition, Turner et al. 2023 (arXiv 2308.10248).

    Examples
    --------
    >>> from causaltest.sites import block_output
    >>> str(add(block_output(1, pos="end"), [3.0, 4.0]))
    'add(block_output[1]@end, norm=5)'
    """
    return Addition((site,), _vector(vector, "add"), float(scale))


def subtract(site: Site, vector: Iterable[float] | Any) -> Subtraction:
    """Subtract a fixed vector from the activation at a site.

    Parameters
    ----------
    site
        Where to subtract.
    vector
        As for `add`.

    Returns
    -------
    Subtraction

    Raises
    ------
    InterventionError
        The vector is empty, not one-dimensional, or holds numbers that are not finite.

    Notes
    -----
    new = base - vector.

    Examples
    --------
    >>> from causaltest.sites import block_output
    >>> str(subtract(block_output(1, pos="end"), [3.0, 4.0]))
    'subtract(block_output[1]@end, norm=5)'
    """
    return Subtraction((site,), _vector(vector, "subtract"))


def constant(
    site: Site, value: float | Iterable[float] | Any, *, subspace: Subspace | None = None
) -> Constant:
    """Replace the activation at a site by fixed numbers, such as a stored activation.

    Parameters
    ----------
    site
        Where.
    value
        One number for every dim, or as many numbers as the site is wide; may be a tensor that is
        trained.
    subspace
        As for `interchange`; the value takes the place of the source.

    Returns
    -------
    Constant

    Raises
    ------
    InterventionError
        The value is neither one number nor a vector, or is not finite.

    Notes
    -----
    new = value.

    Examples
    --------
    >>> from causaltest.sites import mlp_activation
    >>> str(constant(mlp_activation(1, pos="end", dims=7), 5.0))
    'constant(mlp_activation[1]{7}@end, 5)'
    """
    axes = 0 if isinstance(value, (int, float)) or getattr(value, "shape", None) == () else 1
    return Constant((site,), subspace, value=shaped(value, "the value of constant", axes))


def scale(site: Site, factor: float) -> Scaling:
    """Multiply the activation at a site by a factor.

    Parameters
    ----------
    site
        Where.
    factor
        Any finite number: 0 removes, 2 doubles, -1 reverses.

    Returns
    -------
    Scaling

    Raises
    ------
    InterventionError
        The factor is not finite.

    Notes
    -----
    new = factor * base.

    Examples
    --------
    >>> from causaltest.sites import head_attention_value_output
    >>> str(scale(head_attention_value_output(9, 6), 0.5))
    'scale(head_attention_value_output[9.6], factor=0.5)'
    """
    return Scaling((site,), float(factor))


def skip(*sites: Site) -> Skip:
    """Skip modules: each one's output becomes its own input.

    Parameters
    ----------
    sites
        Outputs of modules that give activations of the shape they take, e.g. `block_output(3)`;
        the module still runs, and its input is what it gets in the intervened run.

    Returns
    -------
    Skip

    Raises
    ------
    InterventionError
        No site, or the same site twice. Where it is used: the site is not a whole output, or input
        and output differ in shape.

    Notes
    -----
    new = input of the module. For a block of a residual network this is deleting the layer, Veit
    et al. 2016 (arXiv 1605.06431), section 4.

    Examples
    --------
    >>> from causaltest.sites import block_output
    >>> str(skip(block_output(3)))
    'skip(block_output[3])'
    """
    return Skip(some_sites(sites, "skip"))


def apply_function(site: Site, function: Function, *, source: bool = False) -> FunctionEdit:
    """Replace the activation at a site by what a function makes of it.

    Parameters
    ----------
    site
        Where.
    function
        Takes (base, source) and returns the new activation, of the shape of base: (entries,
        width), one entry for each prompt and edited token. It must not change what it is given.
    source
        Whether the source run is read; without it the function gets None for source.

    Returns
    -------
    FunctionEdit
        It is printed as `module:name` of the function. It can be saved only if the function can be
        imported under that name: no lambda, and no function defined inside another.

    Raises
    ------
    InterventionError
        What is given is no function. Where it is used: the result is no tensor, or of another
        shape.

    Notes
    -----
    new = function(base, source).

    Examples
    --------
    >>> from causaltest.sites import mlp_activation
    >>> import operator
    >>> str(apply_function(mlp_activation(0), operator.sub, source=True))
    'apply_function(mlp_activation[0], _operator:sub, source)'
    """
    return FunctionEdit((site,), function, source)


def adapter(site: Site, down: Any, up: Any, *, scale: float = 1.0) -> Adapter:
    """Add a low-rank map of a module's input to its output, as LoRA does to a linear layer.

    Parameters
    ----------
    site
        A module's output, e.g. `module("transformer.h.3.mlp.c_fc")` or `query_output(3)`.
    down
        (width of the module's input, rank), A; may be a tensor that is trained.
    up
        (rank, width of the site), B.
    scale
        Factor, often written alpha / rank.

    Returns
    -------
    Adapter

    Raises
    ------
    InterventionError
        The shapes do not fit each other. Where it is used: they do not fit the module, or the site
        is an input.

    Notes
    -----
    new = base + scale * (x A) B with x the module's input. Hu et al. 2021 (arXiv 2106.09685),
    equation 3, in row vectors.

    Examples
    --------
    >>> from causaltest.sites import query_output
    >>> str(adapter(query_output(3), [[1.0], [0.0]], [[0.5, 0.5]], scale=2.0))
    'adapter(query_output[3], rank=1, scale=2)'
    """
    return Adapter((site,), shaped(down, "down", 2), shaped(up, "up", 2), float(scale))


def _vector(values: Any, verb: str) -> Array:
    return vector(values, f"the vector to {verb}")
