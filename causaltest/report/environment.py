"""What was run, on what, with what: the facts another person needs to run it again."""

from __future__ import annotations

from causaltest.records import Environment, ModelRecord, PairSetRecord, Results
from causaltest.report import numbers

Facts = list[tuple[str, str]]


def environment_of(results: Results) -> list[tuple[str, Facts]]:
    """List models, settings and software of a run.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    list of (str, list of (str, str))
        Titles, each with terms and values; values that are not known are left out.
    """
    run = results.run
    sections: list[tuple[str, Facts]] = []
    sections.extend((f"Model: {model.name}", _model(model)) for model in run.models)
    settings = [
        ("α", numbers.plain(run.alpha)),
        ("correction", run.correction),
        ("seed", str(run.seed)),
        ("started", run.started),
        ("finished", run.finished),
        ("duration", f"{run.seconds:.1f} s" if run.seconds else ""),
        ("status", results.status),
    ]
    sections.append(("Run", _known(settings)))
    if run.environment is not None:
        sections.append(("Software", _software(run.environment)))
    return sections


def _known(facts: Facts) -> Facts:
    """Drop facts that nobody recorded."""
    return [(term, value) for term, value in facts if value]


def _model(model: ModelRecord) -> Facts:
    """List the facts of a model."""
    components = ", ".join(model.components)
    return _known(
        [
            ("architecture", model.architecture),
            ("parameters", f"{model.parameters:,}"),
            ("layers", str(model.layers)),
            ("dtype, device", ", ".join(text for text in (model.dtype, model.device) if text)),
            ("components", components),
            ("weights, SHA-256", model.sha256),
        ]
    )


def pair_sets_of(results: Results) -> list[tuple[str, str, str, str]]:
    """List the pair sets of a run.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    list of (str, str, str, str)
        Name, number of pairs, units, and hash of the content.
    """
    return [_pair_set(pair_set) for pair_set in results.run.pair_sets]


def _pair_set(pair_set: PairSetRecord) -> tuple[str, str, str, str]:
    """List the facts of a pair set."""
    units = f"{numbers.plural(pair_set.n_units, 'unit')}, by {pair_set.cluster}"
    if pair_set.cluster is None:
        units = "cluster=None: each pair counts as its own unit"
    return pair_set.name, f"{pair_set.n_pairs:,}", units, pair_set.sha256


def _software(environment: Environment) -> Facts:
    """List the facts of the environment."""
    commit = environment.git_commit
    if commit and environment.git_dirty is not None:
        commit += ", with uncommitted changes" if environment.git_dirty else ", clean"
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return _known(
        [
            ("command", environment.command),
            ("commit", commit),
            ("Python", environment.python),
            ("packages", packages),
            ("platform", environment.platform),
            ("threads", str(environment.threads) if environment.threads else ""),
        ]
    )
