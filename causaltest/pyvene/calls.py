"""One call of a model: which source each intervention reads, in which passes, and what it edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from causaltest.engine.applied import Applied, operations_of
from causaltest.engine.hooks import attached
from causaltest.engine.reading import Attachment, read_during
from causaltest.engine.steps import Clock, StepEdit
from causaltest.errors import InterventionError
from causaltest.pyvene import building
from causaltest.pyvene.edits import Called
from causaltest.pyvene.given import Inputs, inputs_of, rows_of, stored_of
from causaltest.pyvene.interventions import CollectIntervention, Intervention, LambdaIntervention
from causaltest.pyvene.locations import Pairing, Spot, parallel, serial
from causaltest.pyvene.parts import Parts
from causaltest.pyvene.places import Target, Where, pairs_at, shaped, where_of
from causaltest.pyvene.subspaces import per_intervention
from causaltest.sites import MODULE


@dataclass(frozen=True)
class Call:
    """What is asked for in one call; see `IntervenableModel.forward`.

    Parameters
    ----------
    parts
        The interventions.
    base
        The model's keyword arguments.
    sources, unit_locations, source_representations, subspaces, extra
        As given.
    clock
        The steps of a generation; None for a forward pass.
    on_prompt
        Whether a generation edits the prompt too, or its new tokens alone.
    """

    parts: Parts
    base: Inputs
    sources: Any = None
    unit_locations: Any = None
    source_representations: Any = None
    subspaces: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock | None = None
    on_prompt: bool = True

    @property
    def rows(self) -> int:
        """Number of rows of base."""
        return rows_of(self.base)

    def setters(self) -> list[Applied]:
        """Run the sources and return the edits of base, in the order they apply."""
        stored = stored_of(self.source_representations, self.parts.keys)
        given = self._sources()
        if self.parts.mode == "serial":
            return self._chained(given, stored)
        representations = list(self.parts.representations.values())
        pairings = dict(
            zip(
                self.parts.keys,
                parallel(self.unit_locations, representations, self.rows),
                strict=True,
            )
        )
        read = self._read_all(given, pairings, stored)
        setters = [
            each
            for key, pairing in pairings.items()
            if pairing.base is not None and not self._skipped(key, given, pairing, read)
            for each in self._edits(key, pairing.base, read.get(key), self.base, self.clock)
        ]
        if not setters:
            raise InterventionError(
                "no intervention would happen: every one is skipped by None in sources or "
                "unit_locations"
            )
        return setters

    def _skipped(
        self, key: str, given: Mapping[str, Any], pairing: Pairing, read: Mapping[str, Any]
    ) -> bool:
        """Return whether an intervention that needs a source is skipped on purpose."""
        each = self.parts.intervention(key)
        if key in read or not _takes_source(each):
            return False
        if self.sources is None:
            raise InterventionError(
                f"{key}: {type(each).__name__} needs a source; give sources=[...], or "
                "source_representations="
            )
        if given.get(key) is not None and pairing.source is None:
            raise InterventionError(
                f"{key}: {type(each).__name__} needs a source, but unit_locations say nothing of "
                "where it is read: give 'sources->base', or source_representations="
            )
        return True

    def _steps(
        self, target: Target, spot: Spot, mask: Tensor | None, clock: Clock
    ) -> tuple[Tensor | None, Clock | None]:
        """Return the mask and the steps of a site in a generation; no steps where it runs once."""
        host = self.parts.host
        if host is not None and host.runs_once(target.access.path):
            if not self.on_prompt:
                raise InterventionError(
                    f"{target.site}: {target.access.path} runs once, before the first token is "
                    "written; set intervene_on_prompt=True to edit what it reads"
                )
            return mask, None
        if spot.times is not None:
            raise InterventionError(
                f"{target.site}: unit 't' counts the calls of one forward pass, and a text is "
                "written in several; use unit 'pos'"
            )
        if host is None or not host.once:
            return mask, clock
        # Which of its own tokens the writer was given is not said by the mask of the whole call.
        if mask is not None and self.unit_locations is not None:
            raise InterventionError(
                f"{target.site}: rows are padded, and places of padded rows cannot be told in "
                f"{type(host.network).__name__}; generate for rows of one length"
            )
        return None, clock

    def _edits(
        self, key: str, spot: Spot, source: Tensor | None, into: Inputs, clock: Clock | None
    ) -> list[Applied]:
        """Return the edits of one intervention in one run: one, or one for each time step."""
        self._check_heads(key, spot)
        parts, target = self.parts, self.parts.targets[key]
        each, mask = parts.intervention(key), parts.mask(key, into)
        if clock is not None:
            mask, clock = self._steps(target, spot, mask, clock)
        collects = isinstance(each, CollectIntervention)
        picked = per_intervention(self.subspaces, len(parts.keys), self.rows)
        edits: list[Applied] = []
        for step, (site, access, rows) in where_of(target, spot, self.rows, mask).items():
            part = Called(
                (site,), target, spot, each, self.rows, None if collects else source,
                picked[parts.keys.index(key)], self.extra, parts.as_adaptor and not collects,
                None if step is None else pairs_at(step, spot), clock,
            )  # fmt: skip
            edit = Applied(parts.subject, part, site, access, rows, 0)
            if clock is not None:
                steps = "every token" if self.on_prompt else "every new token"
                steps = "prompt" if site.pos else steps
                edit = StepEdit(parts.subject, part, site, access, rows, 0, clock, steps)
            edit.around = target.entrance.path
            edits.append(edit)
        return edits

    def _check_heads(self, key: str, spot: Spot) -> None:
        if spot.heads is not None:
            building.check_heads(self.parts.subject, self.parts.representations[key], spot.heads)

    def _sources(self) -> dict[str, Inputs | None]:
        """Return each key's source; one source serves every group."""
        sources, groups = self.sources, self.parts.groups
        if sources is None:
            return {}
        listed = list(sources) if isinstance(sources, (list, tuple)) else [sources]
        if len(listed) not in (1, len(groups)):
            raise InterventionError(
                f"{len(listed)} sources for {len(groups)} "
                f"{'groups' if len(groups) < len(self.parts.keys) else 'interventions'}; give one "
                "for each (None to skip it), or one for all"
            )
        spread = len(listed) == 1 and len(groups) > 1
        listed = listed * len(groups) if spread else listed
        found: dict[str, Inputs | None] = {}
        known: dict[int, Inputs] = {}
        for source, keys in zip(listed, groups, strict=True):
            if source is not None and id(source) not in known:
                known[id(source)] = self._complete(inputs_of(source, "a source"))
            for key in keys:
                collects = isinstance(self.parts.intervention(key), CollectIntervention)
                if collects and source is not None and len(keys) == 1 and not spread:
                    if len(groups) > 1:
                        raise InterventionError(
                            f"{key}: CollectIntervention takes no source; give None in its place"
                        )
                    continue
                if not collects:
                    found[key] = None if source is None else known[id(source)]
        return found

    def _complete(self, source: Inputs) -> Inputs:
        """Return a source that can be run: a generation gives the decoder nothing to begin with."""
        subject = self.parts.subject
        begun = any(name.startswith("decoder_") or name == "labels" for name in source)
        start = subject.decoder_start
        if start is None:
            start = getattr(subject.network, "decoder_start_token_id", None)
        if self.clock is None or begun or not isinstance(start, int):
            return source
        ids = torch.full((rows_of(source), 1), start, device=subject.device)
        return {**source, "decoder_input_ids": ids}

    def _read_all(
        self,
        given: Mapping[str, Inputs | None],
        pairings: Mapping[str, Pairing],
        stored: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Read what each intervention puts in, one pass for each different source."""
        read: dict[str, Tensor] = dict(stored)
        passes: dict[int, tuple[Inputs, dict[str, Spot]]] = {}
        for key, source in given.items():
            spot = pairings[key].source
            if source is None or key in read or not self._wants(key) or spot is None:
                continue
            passes.setdefault(id(source), (source, {}))[1][key] = spot
        for source, spots in passes.values():
            read.update(self._read(source, spots, []))
        return read

    def _wants(self, key: str) -> bool:
        each = self.parts.intervention(key)
        if isinstance(each, LambdaIntervention):
            return each.source_representation is None
        return _takes_source(each) or each.needs_input

    def _read(
        self, source: Inputs, spots: Mapping[str, Spot], edits: Sequence[Applied]
    ) -> dict[str, Tensor]:
        """Run one source, with the edits of the source before it, until all is read."""
        if rows_of(source) != self.rows:
            raise InterventionError(
                f"a source has {rows_of(source)} rows and base has {self.rows}; give one source "
                "row for each"
            )
        parts = self.parts
        wanted: dict[tuple[str, int | None], Where] = {}
        targets: dict[str, Target] = {}
        for key, spot in spots.items():
            self._check_heads(key, spot)
            target, each = parts.targets[key], parts.intervention(key)
            if each.needs_input and not _takes_source(each):
                target = replace(target, access=target.entrance)
            targets[key] = target
            places = where_of(target, spot, self.rows, parts.mask(key, source))
            wanted.update({(key, step): where for step, where in places.items()})

        def run(operations: Sequence[Attachment]) -> None:
            with attached(parts.subject.network, operations):
                cast("Any", parts.subject.network)(**source)

        # Only components are known to run once; anything else must be watched to the end.
        stops = all(site.component != MODULE for site, _, _ in wanted.values())
        reads = read_during(run, parts.subject, wanted, operations_of(edits), stops=stops)
        for each in edits:
            each.entry()
        found: dict[str, Tensor] = {}
        for key, spot in spots.items():
            of_key = {step: reads[each, step] for each, step in reads if each == key}
            found[key] = shaped(targets[key], spot, of_key)
        return found

    def _chained(
        self, given: Mapping[str, Inputs | None], stored: Mapping[str, Tensor]
    ) -> list[Applied]:
        """Run the chain of sources, each edited by the one before it; return the edits of base."""
        groups = self.parts.groups
        steps = serial(
            self.unit_locations,
            [[self.parts.representations[key] for key in keys] for keys in groups],
            self.rows,
        )
        runs = [
            next((given[key] for key in keys if given.get(key) is not None), None)
            for keys in groups
        ]
        setters: list[Applied] = []
        edited: list[str] = []
        for keys, pairings, source, into in zip(
            groups, steps, runs, [*runs[1:], self.base], strict=True
        ):
            read = {key: stored[key] for key in keys if key in stored}
            spots = {
                key: pairing.source
                for key, pairing in zip(keys, pairings, strict=True)
                if key not in read and self._wants(key) and pairing.source is not None
            }
            if source is not None and spots:
                read.update(self._read(source, spots, setters))
            elif setters:
                raise InterventionError(
                    f"{', '.join(edited)}: the source after it in the chain is missing, so it "
                    "would edit nothing"
                )
            setters, edited = [], []
            for key, pairing in zip(keys, pairings, strict=True):
                if pairing.base is None:
                    continue
                if key not in read and _takes_source(self.parts.intervention(key)):
                    raise InterventionError(f"{key} needs a source, and the chain gives it none")
                # A source that is edited is a plain pass; what is written, if anything, is base.
                clock = self.clock if into is self.base else None
                setters += self._edits(key, pairing.base, read.get(key), into or {}, clock)
                edited.append(key)
        return setters


def _takes_source(each: Intervention) -> bool:
    """Return whether an intervention cannot run without a source."""
    if isinstance(each, LambdaIntervention):
        return False
    return each.needs_source and not each.is_source_constant
