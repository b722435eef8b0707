"""Why an edit that happened moves no logits: what is there reaches the answer by no way."""

from __future__ import annotations

from causaltest.engine.trial import Trial, distance
from causaltest.errors import CausaltestError
from causaltest.interventions import Interchange, scale
from causaltest.sites import Site

_COARSE = (0.0, 1e3, -1e3)
_WEIGHING = frozenset({"query_output", "key_output", "attention_scores"})
_READ_BEFORE = frozenset({"block_input", "attention_input", "key_output", "value_output"})


def why_inert(trial: Trial, site: Site) -> str:
    """Return why the source's activation at a site moves nothing, or an empty string.

    Parameters
    ----------
    trial
        The model and its prompts.
    site
        Where an interchange changed activations, and no logits.
    """
    if _attends_alone(trial, site):
        return "one token runs there, which attends to itself alone whatever this is"
    if _only_decides(trial, site.stack):
        return f"by {site.stack} the network only decides something, here the same"
    if _keys_alone_are_read(trial, site):
        return f"of the last block of {site.stack} only keys and values are read"
    return ""


def _attends_alone(trial: Trial, site: Site) -> bool:
    """Return whether a site only weighs tokens of a stack that runs on one, as a decoder may."""
    if site.component.removeprefix("head_") not in _WEIGHING:
        return False
    stream = Site("block_output", layer=site.layer, stack=site.stack)
    return len(trial.model.read(stream, [trial.base])[stream][0]) == 1


def _only_decides(trial: Trial, stack: str) -> bool:
    """Return whether only coarse edits of what a further stack gives change the logits.

    So it is where a network decides by it, as BLT where patches of bytes begin. A stack that no
    edit reaches the logits from is one whose edits fail.
    """
    if stack not in trial.model.architecture.others:
        return False
    last = len(trial.model.architecture.others[stack].blocks) - 1
    site = Site("block_output", layer=last, stack=stack)
    plain = trial.plain(trial.base)
    try:
        if distance(trial.edited(Interchange((site,)))[0], plain)[0]:
            return False
        coarse = [trial.edited(scale(site, factor))[0] for factor in _COARSE]
    except (CausaltestError, RuntimeError, ValueError):
        return False
    return any(each.shape != plain.shape or distance(each, plain)[0] > 0 for each in coarse)


def _keys_alone_are_read(trial: Trial, site: Site) -> bool:
    """Return whether another stack reads keys and values of a further one, and not what it gives.

    So what comes behind the keys of its last block reaches nothing, as in models of actions.
    """
    others = trial.model.architecture.others
    if site.stack not in others or site.component.removeprefix("head_") in _READ_BEFORE:
        return False
    last = len(others[site.stack].blocks) - 1
    if site.layer != last or ("key_output", last) not in others[site.stack].accesses:
        return False
    plain = trial.plain(trial.base)
    keys, given = (
        trial.edited(Interchange((Site(name, layer=last, stack=site.stack),)))[0]
        for name in ("key_output", "block_output")
    )
    return distance(keys, plain)[0] > 0 and not distance(given, plain)[0]
