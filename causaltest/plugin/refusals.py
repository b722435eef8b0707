"""Usage errors at collection: raised where they can be told, which is not in an xdist worker."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import pytest

_KEY = "causaltest_refusal"


class Refusals:
    """Lets usage errors through, but keeps those of a worker for the process that controls it.

    An error that leaves the collection of a worker reaches nobody: the controller would wait for
    its tests and end in an internal error, or run none and say nothing.

    Parameters
    ----------
    config
        pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._output: dict[str, Any] | None = getattr(config, "workeroutput", None)

    @property
    def told(self) -> bool:
        """Whether this worker has refused something, and shall run no test."""
        return self._output is not None and _KEY in self._output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._output is None or not isinstance(error, pytest.UsageError):
            return False
        self._output.setdefault(_KEY, str(error))
        return True


def raise_sent(node: Any) -> None:
    """Raise what a worker that ended had refused.

    Parameters
    ----------
    node
        xdist's handle of the worker.

    Raises
    ------
    pytest.UsageError
        It had refused something.
    """
    refused = getattr(node, "workeroutput", {}).get(_KEY)
    if refused is not None:
        raise pytest.UsageError(refused)
