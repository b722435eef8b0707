"""The command line: `causaltest --help`."""

from __future__ import annotations

from typing import Any

import click

import causaltest
from causaltest.cli.baseline import baseline
from causaltest.cli.check import check
from causaltest.cli.compare import compare
from causaltest.cli.components import components
from causaltest.cli.history import history
from causaltest.cli.init import init
from causaltest.cli.judge import judge
from causaltest.cli.plan import plan
from causaltest.cli.register import register
from causaltest.cli.replay import replay
from causaltest.cli.report import report
from causaltest.errors import CausaltestError
from causaltest.spelling import did_you_mean


class _Commands(click.Group):
    """Commands that offer the nearest name, and end on our errors without a traceback."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or offer the nearest."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            ctx.fail(
                f"there is no command {args[0]!r}{did_you_mean(args[0], known)}\n"
                f"commands: {', '.join(known)}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what is wrong is said in words."""
        try:
            return super().invoke(ctx)
        except CausaltestError as error:
            from causaltest.report.text import visible

            # Names in a message may come from a file that somebody else wrote.
            raise click.ClickException(visible(str(error), block=True)) from error


_HELP = {"help_option_names": ["-h", "--help"]}


@click.group(cls=_Commands, context_settings=_HELP)
@click.version_option(causaltest.__version__, prog_name="causaltest")
def main() -> None:
    """Causal hypotheses about neural networks: start, plan, register, report, compare.

    Hypotheses themselves run with pytest: `pytest hypotheses/`.

    \b
    Examples:
      causaltest init                      a first hypothesis in hypotheses/
      causaltest check gpt2                whether everything holds on a model
      causaltest components gpt2           which sites a model has
      causaltest plan --pilot reports/results.json
      causaltest register hypotheses/      freeze the claims before the data are seen
      causaltest report reports/results.json
      causaltest baseline reports/results.json
      causaltest compare baseline.json reports
      causaltest history                   how claims came out over the runs
      causaltest replay reports/results.json
      causaltest judge FOLDER              whether a saved alignment holds on new pairs
    """  # noqa: D301 - click reads \b


for _command in (
    init, check, components, plan, register, report, baseline, compare, history, replay, judge,
):  # fmt: skip
    # Also where a command is called by itself, which click remembers.
    _command.context_settings.update(_HELP)
    main.add_command(_command)
