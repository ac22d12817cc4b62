"""Scores that a pruning lacks: the command that makes them, from one route for library and command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from headscope.stages.primary import heads_of_class
from headscope.stages.removal_orders import Rankings, maker
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from interp.errors import UsageError

IDENTITY = {"source": "org/model", "revision": "0123456789abcdef0123456789abcdef01234567"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Without any score, in a folder with a blank in its name."""
    with begin_stage(tmp_path / "a run", IDENTITY, Stage("induction", {})):
        pass
    return open_run(tmp_path / "a run")


@pytest.mark.parametrize(
    ("component", "options", "name", "typed"),
    [
        ("head", {"ranking": "token"}, "importance", ""),
        ("head", {"ranking": "document/choice/mean"}, "importance", " --objective choice --ablation mean"),
        ("ffn", {"ffn_ranking": "knock_out"}, "knockout", " --component ffn"),
    ],
)
def test_the_command_that_makes_a_missing_score(
    run: Run, component: str, options: dict[str, str], name: str, typed: str
) -> None:
    wanted = f"`headscope {name} org/model --tasks one{typed} --shots 1 -o {shlex.quote(str(run.folder))}`"
    with pytest.raises(UsageError, match=re.escape(wanted)) as refusal:
        Rankings(run, component, ("one",), **options).scores("one", 1)  # type: ignore[arg-type]
    assert "of one at 1 shot to rank" in str(refusal.value)


def test_a_variant_names_the_options_that_make_it() -> None:
    assert maker("importance", "document/choice/mean") == "importance --objective choice --ablation mean"
    assert maker("importance", "token") == "importance" and maker("knock_out", "choice").startswith("knockout")


def test_heads_to_choose_by_name_the_model_and_quote_the_folder(run: Run) -> None:
    wanted = f"`headscope induction org/model -o {shlex.quote(str(run.folder))}`"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        heads_of_class(run)
