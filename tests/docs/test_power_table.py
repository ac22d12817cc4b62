"""The table of power: its models are what they say, its tests keep their level, and the page holds what it prints."""

from __future__ import annotations

import numpy as np
import pytest

from tests.docs.scripts import page, script


def test_the_simulated_costs_have_the_variances_that_are_told() -> None:
    table = script("power_table.py")
    held = table.model(np.random.default_rng(0))
    assert held.classed.sum() == 11 and held.classed.any(axis=1).sum() == 8
    assert held.matching[held.classed].min() > held.matching[~held.classed].max()
    documents, studies = 10, 1_500
    once = table.costs(documents, studies, np.random.default_rng(1)).mean(axis=1)
    noise = table.AT / documents * (1 - table.RELIABILITY) / table.RELIABILITY
    assert once.var() == pytest.approx(1 + noise, rel=0.02)
    assert np.mean(once[..., 0] * once[..., 1]) == pytest.approx(table.GROUP_SHARE, abs=0.03)
    assert np.mean(once[..., 2] * once[..., 3]) == pytest.approx(0, abs=0.03)


def test_the_least_significant_effect_of_the_primary_is_where_its_p_passes_the_level() -> None:
    from ablation.statistics.standardised import exchangeable_p

    table = script("power_table.py")
    held = table.model(np.random.default_rng(3))
    sets = table.sets_of(held, 3)
    assert np.array_equal(sets.members[0], held.classed) and len(sets.members) == 40
    assert not (sets.members[1:] * held.classed).any() and (sets.members.sum(axis=(1, 2)) == 11).all()
    controls = sets.members[1:].astype(bool)
    p = [
        exchangeable_p(sets.critical + more, held.classed, controls, groups=table.layout(), seed=3)
        for more in (0.02, -0.02)
    ]
    assert p[0] <= table.LEVEL < p[1]


def rows() -> list[list[str]]:
    """The cells of the page's table, the heading first."""
    table = script("power_table.py")
    lines = page("method.md").split(table.BEGIN)[1].split(table.END)[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def test_the_page_has_a_row_for_all_that_is_simulated() -> None:
    table = script("power_table.py")
    blank = table.table(np.zeros((len(table.EFFECTS), len(table.DOCUMENTS), len(table.TESTS)))).splitlines()
    expected = [[cell.strip() for cell in line.strip("|").split("|")] for line in [blank[0], *blank[2:]]]
    assert rows()[0] == expected[0]
    assert [row[:2] for row in rows()] == [row[:2] for row in expected]
    shares = [int(cell.removesuffix("%")) for row in rows()[1:] for cell in row[2:]]
    possible = {f"{count / (table.MODELS * table.STUDIES):.0%}" for count in range(table.MODELS * table.STUDIES + 1)}
    assert all(f"{share}%" in possible for share in shares)


def test_a_few_models_come_out_as_the_page_says() -> None:
    """Two of the 25 models, at the ends of what was simulated and at the fewest documents."""
    table = script("power_table.py")
    found = table.powers((0.0, 2.0, 8.0), (40,), models=2)[:, 0]
    told = {row[0]: [int(cell.removesuffix("%")) / 100 for cell in row[2:]] for row in rows()[1:] if row[1] == "40"}
    names = {effect: name for name, effect in table.EFFECTS.items()}
    for effect, shares in zip((0.0, 2.0, 8.0), found, strict=True):
        for share, known in zip(shares, told[names[effect]], strict=True):
            assert share == pytest.approx(known, abs=4 * np.sqrt(max(known * (1 - known), 0.01) / 50))


def test_without_a_place_on_the_page_the_table_is_not_made() -> None:
    table = script("power_table.py")
    text = f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n{table.END}\n"
    assert table.written(text, "new") == f"above\n{table.BEGIN}\nnew\n{table.END}\nbelow\n{table.END}\n"
    for wrong in ("no mark", table.BEGIN, f"{table.END} {table.BEGIN}", text + text):
        with pytest.raises(SystemExit, match=r"method\.md has no single line"):
            table.written(wrong, "new")
