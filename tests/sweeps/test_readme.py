"""The README's map is made as the README says."""

import re


def test_the_map_in_the_readme_is_made(repository, tmp_path, monkeypatch, capsys):
    """The script sweeps, prints table and plan, saves a picture, and its claim holds."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (setup,) = (each for each in blocks if "Causal(model)" in each)
    (script,) = (each for each in blocks if "grid.save" in each)
    names = {}
    monkeypatch.chdir(repository)
    exec(setup, names)
    monkeypatch.chdir(tmp_path)
    exec(script, names)
    assert "* differs from 0" in capsys.readouterr().out
    assert (tmp_path / "map.svg").read_text().startswith("<svg")
