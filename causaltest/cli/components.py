"""`causaltest components`: which sites a model has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from causaltest.spelling import did_you_mean

if TYPE_CHECKING:
    from causaltest.engine import Model


class Named(click.Choice[str]):
    """A choice that offers the nearest name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value, or refuse it with the nearest."""
        if value in self.choices:
            return str(value)
        known = list(map(str, self.choices))
        message = f"{value!r} is none of {', '.join(known)}{did_you_mean(str(value), known)}"
        raise click.BadParameter(message, ctx=ctx, param=param)


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--device", default="auto", show_default=True, help="Torch device.")
@click.option(
    "--dtype",
    type=Named(["float32", "bfloat16", "float16", "float64"]),
    default="float32",
    show_default=True,
    help="Type of the weights.",
)
def components(model: str, device: str, dtype: str, *, as_json: bool) -> None:
    """List the components of MODEL, a folder or a hub name, each verified by running it.

    \b
    Examples:
      causaltest components gpt2
      causaltest components ./my-model --json
    """  # noqa: D301 - click reads \b
    from causaltest.engine import Model

    rows = _rows(Model.load(model, device=device, dtype=dtype))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = [("component", "layers", "heads", "width", "module")]
    table += [
        (
            row["component"],
            "" if row["layers"] is None else str(row["layers"]),
            "" if row["heads"] is None else str(row["heads"]),
            "" if row["width"] is None else str(row["width"]),
            f"{row['module']}.{row['side']}",
        )
        for row in rows
    ]
    for line in aligned(table):
        click.echo(line)


def _rows(model: Model) -> list[dict[str, Any]]:
    from causaltest.sites import (
        COMPONENTS,
        EXPERT_COMPONENTS,
        HEAD_COMPONENTS,
        MODEL_COMPONENTS,
        Site,
    )

    known = model.architecture.accesses
    rows: list[dict[str, Any]] = []
    for name in model.components:
        whole = name.removeprefix("head_")
        layers = sorted(
            layer for component, layer in known if component == whole and layer is not None
        )
        first = None if name in MODEL_COMPONENTS else layers[0]
        headed = name in HEAD_COMPONENTS
        routed = name in EXPERT_COMPONENTS
        site = Site(name, layer=first, head=0 if headed else None, expert=0 if routed else None)
        access = model.access(site)
        rows.append(
            {
                "component": name,
                "layers": len(layers) or None,
                "heads": model.n_heads(name, layers[0]) if headed else None,
                "width": access.width,
                "module": access.path,
                "side": str(access.side),
                "description": COMPONENTS[name],
            }
        )
    return rows


def aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table, its columns aligned, numbers to the right.

    Examples
    --------
    >>> aligned([("site", "n"), ("mlp", "12")])
    ['site   n', 'mlp   12']
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [
        all(row[i].replace(".", "").replace(",", "").isdigit() or not row[i] for row in table[1:])
        for i in range(len(widths))
    ]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]
