"""Token and concept induction equal one whole run a head, and the hand-built model has its answer (Method 2.11)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import induction
import interp
from induction import concept_score, concept_scores, entity_prompts
from induction.concept import patching_effects
from induction.entities import KINDS, EntityPrompt, EntityPrompts
from induction.names import NAMES
from induction.null import swapped_null
from induction.texts import ids_behind
from interp.errors import HeadscopeError, UsageError
from interp.model import HookedModel
from interp.prompt_rows import Route
from tests.induction import handmade, oracle, tiny, worded
from tests.interp import families
from tests.interp.overflowing import overflow_on

# Grouped heads, windows, norms behind attention, biases, head widths of their own, no interface, experts.
FAMILIES = ["gpt2", "opt", "llama", "gemma3", "olmo2", "bloom", "gpt_oss"]
ENTITIES = [(20, 21), (30, 31, 32), (40, 41), (50, 51, 52)]
VARIANTS = ("concept", "token", "names_first", "random_second")


def prompts_for(model: HookedModel, **options: Any) -> EntityPrompts:
    given: Any = {"prompts": 2, "length": 7, "entities": ENTITIES}
    return entity_prompts(model, **{**given, **options})


# --- the prompts ---------------------------------------------------------------------------------------------------


def test_the_same_random_tokens_lead_to_the_entity_twice() -> None:
    model = worded.model("llama")
    drawn = entity_prompts(model, prompts=12, length=30)
    text = model.tokenizer
    names = {ids_behind(text, f" {name}") for name in NAMES}
    for prompt in drawn.prompts:
        name, twin = prompt.entities
        assert name in names and 2 <= len(name) <= 5 and len(twin) == len(name)
        lead = (*prompt.lead,)
        assert len(lead) + len(name) == len(prompt.redrawn) == 30
        for kind, entity in enumerate(prompt.entities):
            clean, corrupt = prompt.clean(kind), prompt.corrupt(kind)
            assert clean == (2, *lead, *entity, *prompt.separator, *lead, entity[0])
            assert corrupt[1:31] == prompt.redrawn and corrupt[31:] == clean[31:] and corrupt[0] == 2
            other = prompt.clean_other(kind)
            assert len(other) == len(clean) and other[: len(lead) + 1] == clean[: len(lead) + 1]
            rival = prompt.others[kind]
            assert len(rival) == len(entity) and rival[0] != entity[0] and rival[1] != entity[1]
        drawn_tokens = [*lead, *prompt.redrawn, *twin, *prompt.others[1]]
        assert len(set(drawn_tokens)) == len(drawn_tokens)
        assert not set(drawn_tokens) & {*name, *prompt.others[0], *prompt.separator, 2}
    assert drawn.separator == "line break" and drawn.prompts[0].separator == ids_behind(text, "\n")
    assert len({prompt.entities[0] for prompt in drawn.prompts}) == 12
    fitting = [name for name in names if 2 <= len(name) <= 5]
    assert drawn.usable == len(fitting) > 12


def test_prompts_are_their_seeds_own() -> None:
    model = worded.model("llama")
    one, same, other = (entity_prompts(model, prompts=3, seed=seed) for seed in (0, 0, 1))
    assert one == same and one.prompts[0] != other.prompts[0]


def test_names_are_hundreds_and_each_is_one() -> None:
    assert len(NAMES) == len(set(NAMES)) > 300 and not any(name != name.strip() or not name for name in NAMES)


def test_names_with_unknown_letters_are_left_out() -> None:
    """The tiny tokenizer knows nine letters: of the whole list nothing can be asked for, and the sentence says so."""
    with pytest.raises(UsageError, match=r"0 names of 2 to 5 tokens can be asked for.*got prompts=40"):
        entity_prompts(tiny.model("llama"))


def test_a_model_without_a_tokenizer_takes_ids() -> None:
    model = interp.load_model(families.build("gpt2"), check=False)
    drawn = prompts_for(model, counts="uniform")
    assert drawn.usable == 4 and drawn.separator == "random token"
    fronts = {prompt.front for prompt in drawn.prompts}
    assert all(len(front) == 1 for front in fronts)
    assert concept_score(model, drawn, draws=0).mean.isfinite().all()
    with pytest.raises(UsageError, match=r"give entities=\[\(id, id\).*has no tokenizer"):
        entity_prompts(model, counts="uniform")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prompts": 5}, "4 names of 2 to 5 tokens.*got prompts=5"),
        ({"prompts": 0}, "got prompts=0"),
        ({"length": 5}, "length must; got 5"),
        ({"length": 32}, r"up to 66 tokens, more than this model's context of 64: give length=31 or less"),
        ({"length": 31, "candidates": tiny.CANDIDATES, "entities": ENTITIES[:3]}, None),
        ({"length": 20, "candidates": induction.Candidates(torch.arange(7, 57), "counts", 50)}, "length=19 or less"),
        ({"entities": [(20, 21), (20, 22), (23, 21)]}, None),
        ({"entities": [(20, 21), (20, 22)]}, "0 names of 2 to 5 tokens"),  # the same first token: no other entity
    ],
)
def test_impossible_prompts_are_refused(options: dict[str, Any], sentence: str | None) -> None:
    model = tiny.model("gpt2")
    if sentence is None:
        assert len(prompts_for(model, **options)) == 2
        return
    with pytest.raises(UsageError, match=sentence):
        prompts_for(model, **options)


# --- against whole runs ----------------------------------------------------------------------------------------------


def whole_runs(hf: Any, parts: oracle.Family, prompt: EntityPrompt, kind: int) -> np.ndarray:
    """[source read layer head]: one run of the whole corrupt prompt for each head and source of its z."""
    corrupt, entity = torch.tensor([prompt.corrupt(kind)]), prompt.entities[kind]
    heads = hf.config.num_attention_heads

    def read(patch: tuple[int, int, oracle.Array] | None) -> list[float]:
        handles = []
        if patch is not None:
            layer, head, value = patch

            def put_in(module: Any, args: Any) -> Any:
                z = args[0].clone()
                width = z.shape[-1] // heads
                z[:, -2, head * width : (head + 1) * width] = torch.tensor(value, dtype=z.dtype)
                return (z, *args[1:])

            handles.append(oracle.part(hf, parts, layer, parts.o).register_forward_pre_hook(put_in))
        with torch.no_grad():
            logs = hf(corrupt, use_cache=False).logits[0].double().log_softmax(-1)
        for handle in handles:
            handle.remove()
        return [float(logs[-2, entity[0]]), float(logs[-1, entity[1]])]

    plain, found = read(None), np.zeros((2, 2, 2, heads))
    for source, clean in enumerate((prompt.clean(kind), prompt.clean_other(kind))):
        z = oracle.watch(hf, parts, torch.tensor([clean])).z
        for layer, head in np.ndindex(2, heads):
            patched = read((layer, head, z[layer][0, -2, head]))
            found[source, :, layer, head] = np.subtract(patched, plain)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_equal_one_whole_run_a_head(family: str) -> None:
    model, hf, parts = tiny.model(family), families.build(family), oracle.FAMILIES[family]
    drawn = prompts_for(model)
    wanted = np.array([[whole_runs(hf, parts, prompt, kind) for kind in range(2)] for prompt in drawn.prompts])
    effects = patching_effects(model, drawn)
    np.testing.assert_allclose(effects.numpy(), wanted, rtol=0, atol=2e-5)
    assert all(np.std(wanted[:, kind, 0, read]) > 1e-4 for kind, read in itertools.product(range(2), range(2)))
    cells = {"concept": (0, 1), "token": (1, 0), "names_first": (0, 0), "random_second": (1, 1)}
    for variant, scores in zip(VARIANTS, concept_scores(model, drawn, draws=20), strict=True):
        kind, read = cells[variant]
        np.testing.assert_allclose(scores.per_item.numpy(), wanted[:, kind, 0, read], rtol=0, atol=2e-5)
        np.testing.assert_allclose(scores.nulls[0].mean.numpy(), wanted[:, kind, 1, read].mean(0), rtol=0, atol=2e-5)
        alone = concept_score(model, drawn, variant, draws=20)  # type: ignore[arg-type]
        assert (alone.name, alone.variant, alone.nulls[0].name) == (scores.name, scores.variant, "another entity")
        assert torch.equal(alone.mean, scores.mean) and torch.equal(alone.p, scores.p)


def test_layers_without_heads_are_nan() -> None:
    model = tiny.model("qwen3_next")
    scores = concept_score(model, prompts_for(model), draws=30)
    assert scores.mean[0].isnan().all() and scores.mean[1].isfinite().all()
    assert scores.p[0].isnan().all() and scores.p_family[1].isfinite().all() and scores.nulls[0].mean[0].isnan().all()


def test_a_killed_run_goes_on_from_its_units() -> None:
    model, units, told = tiny.model("llama"), tiny.Kept(), []
    drawn = prompts_for(model, prompts=4)
    units.limit = 3
    with pytest.raises(KeyboardInterrupt):
        concept_scores(model, drawn, units=units)
    units.limit = 4
    resumed = concept_scores(
        model, drawn, draws=30, units=units, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(n, 4) for n in range(1, 5)]
    for scores, whole in zip(resumed, concept_scores(model, drawn, draws=30), strict=True):
        assert torch.equal(scores.per_item, whole.per_item) and torch.equal(scores.p, whole.p)


def test_unknown_variants_are_refused() -> None:
    model = tiny.model("llama")
    with pytest.raises(
        UsageError, match="no variant 'first' of concept induction; there are: concept, token, names_first"
    ):
        concept_score(model, prompts_for(model), "first")


# --- known answers -------------------------------------------------------------------------------------------------


def test_the_induction_head_brings_the_token_back_and_its_opposite_keeps_it_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No head writes ahead of the next token: nothing carries the second one. Layer 0 sees the same in both prompts."""
    model = handmade.model()
    monkeypatch.setattr(
        "interp.patched_rows.find_route", lambda *args: Route(False)
    )  # its trial asks each head to speak
    entities = [(n, n + 1) for n in range(60, 90, 2)]
    drawn = prompts_for(model, prompts=8, entities=entities, length=12)
    concept, token, names_first, random_second = concept_scores(model, drawn, draws=2000)
    for scores in (token, names_first):
        assert scores.mean[1, 0] > 1 and scores.mean[1, 1] < -0.2
        assert scores.mean[0].abs().max() < 1e-4 and scores.mean[1, 2:].abs().max() < 1e-4
        null = scores.nulls[0].mean[1]
        assert null[0] < 0 and scores.mean[1, 1] < null[1]  # another entity is said, or denied, in its place
        assert scores.p_family[1, 0] < 0.01 and scores.p[1, 1] > 0.5
    for scores in (concept, random_second):
        assert scores.mean.abs().max() < 1e-4


def test_swapping_is_the_exact_test() -> None:
    """Against all 2^8 ways to swap eight pairs."""
    generator = torch.Generator().manual_seed(2)
    own, other = torch.rand(2, 8, 1, 3, generator=generator)
    own[:, 0, 1] += 0.3
    signs = np.array(list(itertools.product((1, -1), repeat=8)))
    excess = (own - other)[:, 0].double().numpy()
    every = signs @ excess / 8
    null = swapped_null(own, other, draws=20000, name="another entity")
    wanted = [(every[:, head] >= excess.mean(0)[head] - 1e-12).mean() for head in range(3)]
    np.testing.assert_allclose(null.p[0].numpy(), wanted, atol=0.01)
    family = [(every.max(1) >= excess.mean(0)[head] - 1e-12).mean() for head in range(3)]
    np.testing.assert_allclose(null.p_family[0].numpy(), family, atol=0.015)
    torch.testing.assert_close(null.mean, other.mean(0))


def test_swapping_keeps_its_level_where_there_is_nothing_to_find() -> None:
    """Heads of very unlike sizes whose two values are drawn alike: family-wise 5% in 5% of cases."""
    generator = torch.Generator().manual_seed(3)
    sizes = torch.tensor([1.0, 0.2, 3.0, 1.0]).view(1, 1, 4)
    shared = torch.randn(400, 20, 1, 4, generator=generator)
    found = 0
    for trial in range(400):
        own, other = (shared[trial] + torch.randn(20, 1, 4, generator=generator) * sizes for _ in range(2))
        found += bool((swapped_null(own, other, draws=199, seed=trial, name="none").p_family <= 0.05).any())
    assert 0.025 <= found / 400 <= 0.08


def test_what_overflows_names_head_prompt_and_dtype_and_is_not_kept() -> None:
    model = interp.load_model(worded.build("llama", torch.float16), tokenizer=worded.tokenizer(), check=False)
    prompts, units = entity_prompts(model, prompts=3, length=7), tiny.Kept()
    rare = prompts.prompts[1].entities[1][0]
    runs = [[set(p.clean(k) + p.clean_other(k) + p.corrupt(k)) for k in (0, 1)] for p in prompts.prompts]
    number, kind = next((n, KINDS[k]) for n, both in enumerate(runs) for k in (0, 1) if rare in both[k])
    told = (
        rf"^the effect on {kind} prompt {number} of head 0\.0 is no finite number: it overflows float16, and 7 others"
    )
    with pytest.raises(HeadscopeError, match=told):
        concept_scores(overflow_on(model, rare), prompts, units=units)
    assert len(units) == number, "what came before is kept"
