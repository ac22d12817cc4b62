"""Where nothing is stored, a number that is no number ends what would be drawn: layer, head, token and dtype named."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import interp
from headscope.inspector import thumbnails, writers, writing_on
from headscope.inspector.asked import Prompt
from headscope.inspector.bench import Bench
from headscope.report.attention_page import write_attention
from headscope.stages.induction import store_example
from induction import prefix_matching_score
from induction.sequences import repeated_sequences
from induction.vocabulary import Candidates
from interp import view
from interp.attention.rows import FactoredRows, PatternRows
from interp.errors import HeadscopeError, UsageError
from interp.logit_lens import logit_lens
from tests.headscope.tiny_model import tiny_model
from tests.interp.families import load
from tests.interp.overflowing import overflow_on

TEXT = "abcdefgh"
BEGINS = r" is no finite number: it overflows float16; it begins in the residual stream behind layer 0\. Load the model"
ATTENTION = rf"the attention of head 1\.0 at token 4 of the text{BEGINS}"
SAID = rf"what the model says behind token \d of the text{BEGINS}"


def copy_of(model: interp.HookedModel) -> Any:
    made = transformers.AutoModelForCausalLM.from_config(model.hf.config)
    made.load_state_dict(model.hf.state_dict())
    return made.half().eval()


@cache
def broken_model() -> interp.HookedModel:
    """The tiny model in float16, which overflows behind layer 0 at the fifth token of TEXT."""
    tiny = tiny_model()
    model = interp.load_model(copy_of(tiny), tokenizer=tiny.tokenizer, check=False)
    return overflow_on(model, tiny.tokenizer(TEXT)["input_ids"][4])


def asked(**more: Any) -> dict[str, Any]:
    return {"prompt": {"kind": "text", "text": TEXT}, "query": 4, **more}


def drawn(*ids: int) -> Candidates:
    return Candidates(torch.tensor(ids), "uniform", len(ids))


PAGES: dict[str, Callable[[Bench], Any]] = {
    "prompt": lambda bench: bench.read(Prompt("text", text=TEXT)),
    "pictures": lambda bench: thumbnails.grid_parts(bench, asked()),
    "writers": lambda bench: writers.question(bench, asked()),
    "view": lambda bench: bench.live.attention_view(TEXT, 1),
}


@pytest.mark.parametrize("page", PAGES)
def test_attention_that_is_no_number_is_not_drawn(page: str) -> None:
    with pytest.raises(HeadscopeError, match=ATTENTION):
        PAGES[page](Bench("tiny", model=broken_model()))


def test_the_page_of_a_head_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(HeadscopeError, match=ATTENTION):
        write_attention(broken_model(), TEXT, 1, head=0, out=tmp_path / "a.html")
    assert not [*tmp_path.iterdir()]


def test_no_token_is_made_of_what_is_no_number() -> None:
    model = broken_model()
    ids = model.tokenizer(TEXT)["input_ids"]
    with pytest.raises(HeadscopeError, match=SAID):
        model.generate(TEXT, 1)
    with pytest.raises(HeadscopeError, match=SAID):
        writing_on.write_on(model, ids[:5], 2, lambda done, total: None)
    lens_of = writers.Question(tuple(ids[:5]), ids[0], None, writers.RemovedParts())
    with pytest.raises(HeadscopeError, match=rf"what a layer's stream says of the text{BEGINS}"):
        writers.lens(Bench("tiny", model=model), lens_of, writers.RemovedParts())
    assert logit_lens(tiny_model(), torch.tensor([ids])).isfinite().all()


def test_the_last_layer_alone_breaks_what_the_model_says() -> None:
    """No attention comes after it."""
    tiny = tiny_model()
    model = interp.load_model(copy_of(tiny), tokenizer=tiny.tokenizer, check=False)
    overflow_on(model, tiny.tokenizer(TEXT)["input_ids"][4], layer=tiny.n_layers - 1)
    told = r"what the model says behind token 4 of the text.*begins in the residual stream behind layer 2\."
    with pytest.raises(HeadscopeError, match=told):
        Bench("tiny", model=model).read(Prompt("text", text=TEXT))


def test_scores_name_layer_head_token_sequence_and_dtype() -> None:
    model = overflow_on(load("llama", dtype=torch.float16), 50)
    sequences = repeated_sequences(model, sequences=3, length=8, repeats=2, candidates=drawn(*range(3, 40)))
    assert prefix_matching_score(model, sequences, draws=0).mean.isfinite().all()
    sequences = repeated_sequences(model, sequences=3, length=20, repeats=2, candidates=drawn(*range(3, 23), 50))
    with pytest.raises(HeadscopeError, match=rf"the attention of head 1\.0 at token \d+ of sequence \d{BEGINS}"):
        prefix_matching_score(model, sequences, draws=0)


def test_the_stored_example_is_not_made_of_what_is_no_number() -> None:
    model = overflow_on(load("llama", dtype=torch.float16), 50)
    with pytest.raises(HeadscopeError, match=rf"the attention of head 1\.0 at token \d+ of the stored example{BEGINS}"):
        store_example(None, model, candidates=drawn(*range(3, 12), 50), seed=0, length=9)


def test_rows_are_numbers_up_to_the_first_key_that_is_none() -> None:
    q, k = torch.ones(1, 4, 3, 2), torch.ones(1, 2, 3, 2)
    k[0, 1, 1] = torch.inf
    q[0, 0, 2] = torch.nan
    found = FactoredRows(q, k, torch.zeros(1, 4, 3), 1.0).finite()
    assert found[0].tolist() == [[True, True, False], [True] * 3, [True, False, False], [True, False, False]]
    pattern = torch.eye(2).expand(1, 1, 2, 2).clone()
    pattern[0, 0, 1, 0] = torch.nan
    assert PatternRows(pattern).finite().tolist() == [[[True, False]]]


def test_a_drawing_refuses_what_is_no_number() -> None:
    with pytest.raises(UsageError, match="no finite numbers"):
        view.draw(("a",), np.full((1, 1, 1), np.nan), ("0.0",))
