"""Which worker gets which tests."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st

from causaltest.plugin.dealing import Deal


@hypothesis.given(
    names=st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=40),
    workers=st.integers(1, 8),
    order=st.randoms(use_true_random=False),
)
def test_every_test_runs_once_and_models_load_as_few_times_as_can_be(names, workers, order):
    """Whoever asks next: max(models, workers) loads at most, one a model without spare workers."""
    files = [f"f{i // 5}.py" for i in range(len(names))]
    deal = Deal(names, files, workers=workers)
    ran: list[int] = []
    held: dict[str, set[int]] = {}
    busy = set(range(workers))
    while busy:
        worker = order.choice(sorted(busy))
        numbers = deal.take(worker)
        if not numbers:
            busy.discard(worker)
        ran += numbers
        for number in numbers:
            held.setdefault(names[number], set()).add(worker)
    assert sorted(ran) == list(range(len(names)))
    assert deal.is_over
    loads = {name: len(who) for name, who in held.items() if name}
    assert sum(loads.values()) <= max(len(loads), workers)
    if workers <= len(loads):
        assert set(loads.values()) == {1}


def test_a_worker_goes_through_a_file_before_the_next():
    """With as many files as workers no file is cut; a single file is, and in order."""
    deal = Deal(["a"] * 6, ["x.py"] * 3 + ["y.py"] * 3, workers=2)
    assert (deal.take("one"), deal.take("two"), deal.take("one")) == ([0, 1, 2], [3, 4, 5], [])
    single = Deal(["a"] * 16, ["x.py"] * 16, workers=2)
    assert (single.take("one"), single.take("two"), single.take("one")) == ([0, 1], [2, 3], [4, 5])


def test_spare_workers_join_where_most_is_to_do():
    """Of four workers two go to the model with most tests; tests without a model count as well."""
    deal = Deal(["a"] * 10 + ["b"] * 2 + ["c"] * 2, ["x.py"] * 14, workers=4)
    firsts = [deal.take(worker)[0] for worker in "1234"]
    assert sorted(firsts) == [0, 1, 10, 12]
    assert deal.widest == 2
    many = Deal(["a"] * 2 + [""] * 100, ["x.py"] * 102, workers=4)
    assert many.take("1") == [0, 1]
    assert all(many.take(worker)[0] > 1 for worker in "234")


def test_what_a_lost_worker_had_not_begun_goes_to_another():
    """The rest of its unit comes first, and its model has a place again."""
    deal = Deal(["a"] * 4 + ["b"] * 4, ["x.py"] * 8, workers=2)
    assert deal.take("one") == [0, 1, 2, 3]
    assert deal.take("two") == [4, 5, 6, 7]
    assert deal.take("two") == []
    deal.give_back("one", [2, 3])
    assert not deal.is_over
    assert (deal.take("three"), deal.take("three")) == ([2], [3])
