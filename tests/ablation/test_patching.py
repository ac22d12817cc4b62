"""Effects of patches against whole runs with hooks, estimates against finite differences, and a model known by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from ablation.patching import patch
from ablation.prompt_pair import PromptPair
from interp import HookedModel
from interp.errors import UsageError
from tests.ablation import words
from tests.induction import handmade
from tests.interp.families import build, load

CLEAN, CORRUPT = [5, 8, 13, 21, 34, 55], [5, 9, 13, 22, 34, 55]
ONE, TWO, LONG = [7], [11], [7, 12]


@pytest.fixture(scope="module")
def llama() -> HookedModel:
    return load("llama", dtype=torch.float64)


@pytest.fixture(scope="module")
def worded() -> HookedModel:
    return interp.load_model(build("gpt2"), tokenizer=words.tokenizer(), check=False)


def log_likelihood(model: HookedModel, context: list[int], answer: list[int]) -> Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([[*context, *answer]]))[0, len(context) - 1 : -1].double()
    return logits.log_softmax(-1)[range(len(answer)), answer].sum()


def value(model: HookedModel, context: list[int], answers: list[list[int]], outcome: str) -> float:
    found = torch.stack([log_likelihood(model, context, answer) for answer in answers])
    if outcome == "log_probability":
        return float(found[0])
    return float(found[0] - (found[1:].mean() if outcome == "logit_difference" else found.logsumexp(0)))


def slow(
    model: HookedModel, answers: list[list[int]], outcome: str, positions: list[int], component: str = "head"
) -> Tensor:
    """The loop: one whole run a component and answer."""
    name = "z" if component == "head" else "mlp_out"
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([CLEAN]), [name])
    plain = value(model, CORRUPT, answers, outcome)
    table = torch.zeros((2, 4) if component == "head" else (2,))
    for layer in range(2):
        held = cache[name, layer][0, positions]
        for head in range(4) if component == "head" else [None]:
            given = {"heads": {(layer, head): held[:, head]}} if head is not None else {"ffns": {layer: held}}
            with model.patched(**given, positions=positions):  # type: ignore[arg-type]
                table[(layer, head) if head is not None else layer] = value(model, CORRUPT, answers, outcome) - plain
    return table


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found.float(), expected.float(), atol=tolerance, rtol=0, equal_nan=True)


# --- exact ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([ONE, TWO], "logit_difference"),
        ([ONE], "log_probability"),
        ([LONG], "log_probability"),
        ([[7, 12], [11, 3]], "logit_difference"),
        ([LONG, TWO, [7]], "choice"),
    ],
)
@pytest.mark.parametrize(("at", "positions"), [("last", [5]), ("all", [*range(6)]), ([1, -1], [1, 5]), (3, [3])])
def test_exact_effects_are_the_loop(
    llama: HookedModel, answers: list[list[int]], outcome: str, at: Any, positions: list[int]
) -> None:
    others: Any = [tuple(ids) for ids in answers[1:]] or None
    found = patch(llama, CLEAN, CORRUPT, answer=answers[0], other=others, at=at, outcome=outcome)
    if outcome == "choice":  # 7 begins 7 12, so the margin stands in for the choice (Method 4)
        expected = slow(llama, answers, "logit_difference", positions)
    else:
        expected = slow(llama, answers, outcome, positions)
    close(found.mean, expected)
    assert float(expected.abs().max()) > 1e-4
    assert found.positions == tuple(positions) and found.variant == f"exact/{outcome}" and found.n == 1
    assert found.corrupt == pytest.approx(
        value(llama, CORRUPT, answers, "logit_difference" if others else outcome), abs=1e-6
    )


def test_choice_is_against_all_answers(llama: HookedModel) -> None:
    answers = [LONG, TWO, [3]]
    found = patch(llama, CLEAN, CORRUPT, answer=LONG, other=[(11,), (3,)], at="all", outcome="choice")
    close(found.mean, slow(llama, answers, "choice", [*range(6)]))
    assert found.clean == pytest.approx(value(llama, CLEAN, answers, "choice"), abs=1e-6)


def test_ffns_and_single_positions(llama: HookedModel) -> None:
    found = patch(llama, CLEAN, CORRUPT, answer=ONE, other=TWO, at="all", component="ffn", by_position=True)
    close(found.mean, slow(llama, [ONE, TWO], "logit_difference", [*range(6)], "ffn"))
    heads = patch(llama, CLEAN, CORRUPT, answer=ONE, other=TWO, at=[1, 5], by_position=True)
    assert found.by_position is not None and heads.by_position is not None
    for number, position in enumerate((1, 5)):
        close(heads.by_position[number], slow(llama, [ONE, TWO], "logit_difference", [position]))
        close(found.by_position[position], slow(llama, [ONE, TWO], "logit_difference", [position], "ffn"))


def test_a_prompt_patched_with_itself_loses_nothing(llama: HookedModel) -> None:
    for at in ("last", "all"):
        found = patch(llama, CLEAN, CLEAN, answer=ONE, other=TWO, at=at)
        close(found.mean, torch.zeros(2, 4))
        assert found.clean == pytest.approx(found.corrupt)


def test_the_last_position_takes_prompts_of_any_length(llama: HookedModel) -> None:
    longer = [3, 4, *CLEAN]
    found = patch(llama, longer, CORRUPT, answer=ONE, other=TWO)
    with torch.no_grad():
        _, cache = llama.run_with_cache(torch.tensor([longer]), ["z"])
    with llama.patched({(1, 2): cache["z", 1][0, -1:, 2]}, positions=[5]):
        patched = value(llama, CORRUPT, [ONE, TWO], "logit_difference")
    assert float(found.mean[1, 2]) == pytest.approx(patched - found.corrupt, abs=1e-6)


# --- estimates -----------------------------------------------------------------------------------------------------


def scaled_patch(model: HookedModel, layer: int, head: int, positions: list[int], step: float, answers: Any) -> float:
    """The exact effect of going a small part of the way."""
    with torch.no_grad():
        held = [model.run_with_cache(torch.tensor([ids]), ["z"])[1]["z", layer][0] for ids in (CLEAN, CORRUPT)]
    clean, corrupt = (z[positions, head] for z in held)
    with model.patched({(layer, head): torch.lerp(corrupt, clean, step)}, positions=positions):
        return value(model, CORRUPT, answers, "logit_difference")


@pytest.mark.parametrize("name", ["llama", "gemma2", "opt"])
@pytest.mark.parametrize("answers", [[ONE, TWO], [[7, 12], [11, 3]]])
def test_attribution_is_the_slope_of_patching(name: str, answers: list[list[int]]) -> None:
    model = load(name, dtype=torch.float64)
    found = patch(model, CLEAN, CORRUPT, answer=answers[0], other=answers[1], at=[1, 5], method="attribution")
    for layer in (0, 1):
        ends = [scaled_patch(model, layer, 3, [1, 5], step, answers) for step in (0.01, -0.01)]  # norms run in float32
        assert float(found.mean[layer, 3]) == pytest.approx((ends[0] - ends[1]) / 0.02, rel=1e-3, abs=3e-5)
    assert found.by_position is not None
    close(found.by_position.sum(0), found.mean)


def test_ig_is_the_mean_slope_at_eight_midpoints(llama: HookedModel) -> None:
    """By hand: `inputs_embeds`, which GPT-2's kind would add positions to, is right for Llama."""
    found = patch(llama, CLEAN, CORRUPT, answer=LONG, other=[11, 3], at="all", method="ig")
    embed = llama.hf.get_input_embeddings()
    total = torch.zeros(2, 6, 4, llama.d_value, dtype=torch.float64)
    for j in range(8):
        for answer, sign in ((LONG, 1), ([11, 3], -1)):
            ends = [embed(torch.tensor([[*ids, answer[0]]])).detach() for ids in (CORRUPT, CLEAN)]
            with llama.gradients() as seen:
                logits = llama.hf(inputs_embeds=torch.lerp(*ends, (j + 0.5) / 8), use_cache=False).logits
                (sign * logits[0, 5:].log_softmax(-1)[[0, 1], answer].sum()).backward()
            total += torch.stack([seen.z_grad[layer][0, :6] for layer in (0, 1)]) / 8
    z = [llama.run_with_cache(torch.tensor([ids]), ["z"])[1]["z"][:, 0] for ids in (CLEAN, CORRUPT)]
    close(found.mean, ((z[0] - z[1]) * total).sum((1, 3)).detach())
    assert found.corrupt == pytest.approx(value(llama, CORRUPT, [LONG, [11, 3]], "logit_difference"), abs=1e-6)


def test_an_estimate_stands_beside_exact_effects(llama: HookedModel) -> None:
    found = patch(llama, CLEAN, CORRUPT, answer=ONE, other=TWO, at="all", method="attribution")
    exact = patch(llama, CLEAN, CORRUPT, answer=ONE, other=TWO, at="all")
    agreement = found.agreement
    assert agreement is not None and agreement.heads == tuple((n // 4, n % 4) for n in range(8))
    close(torch.tensor(agreement.exact), exact.mean.flatten())
    close(torch.tensor(agreement.score), found.mean.flatten())
    assert agreement.spearman > 0.7 and agreement.sign_agreement > 0.6
    assert exact.agreement is None and exact.route.startswith("rows over cached keys") is False


# --- a model known by hand -----------------------------------------------------------------------------------------


def test_patching_finds_the_induction_head_and_its_previous_token_head() -> None:
    """... a b ... a: the corrupt prompt has another token in front of b, so that nothing says b any more."""
    model = handmade.model()
    clean, corrupt = [1, 40, 10, 20, 50, 60, 10], [1, 40, 30, 20, 50, 60, 10]
    alone = interp.HeadMask.keep_all(model.n_layers, model.n_heads).without([(1, 1), (0, 2), (0, 3)])
    with model.gates(heads=alone):  # 1.1 unsays what 1.0 says
        last = patch(model, clean, corrupt, answer=[20], other=[70])
        whole = patch(model, clean, corrupt, answer=[20], other=[70], at="all", by_position=True)
    assert last.clean > 5 and abs(last.corrupt) < 0.5
    assert last.top(1)[0][:2] == (1, 0)
    assert float(last.mean[1, 0]) == pytest.approx(last.clean - last.corrupt, rel=0.02), "it alone carries the repeat"
    rest = last.mean.clone()
    rest[1, 0] = 0
    assert float(rest.abs().max()) < 0.02
    assert {head[:2] for head in whole.top(2)} == {(1, 0), (0, 0)}
    assert float(whole.mean[0, 0]) == pytest.approx(last.clean - last.corrupt, rel=0.02)
    assert whole.by_position is not None
    where = whole.by_position[:, 0, 0]
    assert int(where.argmax()) == 3 and float(where[3]) == pytest.approx(float(whole.mean[0, 0]), rel=0.02)


# --- text, and what is refused -------------------------------------------------------------------------------------


def test_text_is_tokenised_with_its_answer(worded: HookedModel) -> None:
    told = patch(worded, "w5 w8 w13", "w5 w9 w13", answer=" w7 w12", other=" w11 w3")
    ids = patch(worded, [1, 5, 8, 13], [1, 5, 9, 13], answer=[7, 12], other=[11, 3])
    close(told.mean, ids.mean)
    assert told.name == "patching" and told.variant == "exact/logit_difference"
    assert told.top(1)[0].score == float(told.mean.max())


def refused(sentence: str, model: HookedModel, clean: Any = "w5 w8", corrupt: Any = "w5 w9", **options: Any) -> None:
    with pytest.raises(UsageError, match=sentence):
        patch(model, clean, corrupt, **{"answer": " w7", "other": " w11", **options})


def test_prompts_and_answers_that_do_not_fit_are_refused(worded: HookedModel) -> None:
    refused("the corrupt prompt is empty", worded, corrupt="  ")
    refused("the clean prompt has no tokens", worded, clean=[])
    refused("the clean prompt ends with a space: put it in front of the answer", worded, clean="w5 w8 ")
    refused(r"unlike each other \(2: 'w7' 'w12'; 1: 'w11'\).*take answers of equally many", worded, answer=" w7 w12")
    refused(r"joins the prompt and its answer '3': token 2 is 'w8' in the prompt alone and 'w83'", worded, answer="3")
    refused("the answer '' has no token", worded, answer="")
    refused("two of the answers are the same tokens, 'w7'", worded, other=" w7")
    refused("outcome='choice' compares answers", worded, other=None, outcome="choice")
    refused("'loss' is no outcome of patching; there are logit_difference", worded, outcome="loss")
    refused("at='end': patch at 'last', at 'all'", worded, at="end")
    refused("the corrupt prompt has 3 tokens, so positions lie between 0 and 2", worded, at=3)
    refused("method='magic'", worded, method="magic")
    refused("FFNs are patched exactly", worded, component="ffn", method="attribution")
    with pytest.raises(UsageError, match="compares two prompts: give a corrupt one"):
        patch(worded, "w5", None, answer=" w7")
    with pytest.raises(UsageError, match="no tokenizer: give prompts and answers as token ids"):
        patch(load("llama"), "w5", "w6", answer=" w7")


def test_prompts_of_unlike_length_are_refused_with_where_they_part(worded: HookedModel) -> None:
    where = r"clean prompt has 4 tokens and the corrupt one 3; they part at token 2 \('w9' 'w13' against 'w13'\)"
    refused(where, worded, "w5 w9 w13", "w5 w13", at="all")
    refused(f"{where}.*method='ig' needs prompts of equal length", worded, "w5 w9 w13", "w5 w13", method="ig")
    refused(r"part at token 2 \('w13' against its end\)", worded, "w5 w13", "w5", at=[0, -1])
    assert patch(worded, "w5 w9 w13", "w5 w13", answer=" w7", at="last").n == 1


def test_answers_mean_the_same_behind_both_prompts() -> None:
    model = load("llama", tokenizer=words.tokenizer())
    pair = PromptPair.of(model, "w5", "w6 w7", answer=" w8", other=[" w9", " w10"])
    assert pair.corrupt == (1, 6, 7) and pair.answers == ((8,), (9,), (10,))
