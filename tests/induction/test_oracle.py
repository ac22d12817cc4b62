"""Scores and nulls equal loops over eager attention matrices, written from Method 2 alone (oracle.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from induction import copying_score, duplicate_token_score, prefix_matching_score, previous_token_score
from induction.copying import Copying
from induction.direct_effect import DirectEffect
from induction.null import Null, position_null, wrong_token_null
from induction.positional import DuplicateToken, PreviousToken
from induction.prefix_matching import PrefixMatching
from induction.reading import read
from induction.sequences import RepeatedSequences, unrepeated_twin
from induction.wrong_token import WrongToken
from interp.model import HookedModel
from tests.induction import oracle, tiny
from tests.interp import families

CLOSE = {"rtol": 0, "atol": 1e-5}
EVERY = pytest.mark.parametrize("family", list(oracle.FAMILIES))


@dataclass(frozen=True)
class Case:
    """A model twice, once in reach of headscope and once untouched, on repeated and on other sequences."""

    family: oracle.Family
    model: HookedModel
    hf: Any
    repeated: RepeatedSequences
    other: RepeatedSequences
    layers: tuple[int, ...]

    @cached_property
    def seen(self) -> dict[str, oracle.Seen]:
        both = {"repeated": self.repeated, "other": self.other}
        return {name: oracle.watch(self.hf, self.family, drawn.tokens) for name, drawn in both.items()}

    @cached_property
    def pairs(self) -> oracle.Pairs:
        return oracle.copies(self.repeated.tokens[0].tolist())

    @property
    def length(self) -> int:
        return self.repeated.groups[0].block

    @lru_cache  # noqa: B019
    def logits(self, name: str, layer: int, sequence: int) -> list[oracle.Logits]:
        return oracle.logits(self.hf, self.family, self.seen[name], layer, sequence)

    def table(self, value: Any) -> np.ndarray:
        """[item layer head] of value(sequence, layer, head)."""
        heads, count = self.model.n_heads, len(self.repeated)
        return np.array([[[value(s, n, h) for h in range(heads)] for n in self.layers] for s in range(count)])

    def equal(self, found: torch.Tensor, value: Any) -> None:
        """Compare [item layer head]; the oracle has to say something at all."""
        wanted = self.table(value)
        assert np.nanstd(wanted) > 1e-4
        np.testing.assert_allclose(found[:, list(self.layers)].numpy(), wanted, **CLOSE)


@lru_cache
def tiny_case(family: str) -> Case:
    model = tiny.model(family)
    repeated = tiny.sequences(model)
    other = unrepeated_twin(model, repeated)
    return Case(oracle.FAMILIES[family], model, families.build(family), repeated, other, (0, 1))


@pytest.fixture
def case(family: str) -> Case:
    return tiny_case(family)


def check_attention_scores(case: Case) -> None:
    attention, other = case.seen["repeated"].attention, case.seen["other"].attention

    def prefix(which: int) -> Any:
        return lambda s, n, h: oracle.prefix_matching(attention[n][s, h], case.pairs, oracle.reach(case.hf, n))[which]

    found = prefix_matching_score(case.model, case.repeated, draws=0)
    case.equal(found.per_item, prefix(0))
    case.equal(prefix_matching_score(case.model, case.repeated, variant="olsson", draws=0).per_item, prefix(1))
    found = duplicate_token_score(case.model, case.repeated, draws=0)
    case.equal(found.per_item, lambda s, n, h: oracle.duplicate_token(attention[n][s, h], case.pairs))
    found = previous_token_score(case.model, case.other, draws=0)
    case.equal(found.per_item, lambda s, n, h: oracle.previous_token(other[n][s, h]))


@EVERY
def test_prefix_matching_previous_and_duplicate_token(case: Case) -> None:
    check_attention_scores(case)


def check_copying(case: Case) -> None:
    tokens, attention = case.other.tokens.tolist(), case.seen["other"].attention

    @lru_cache
    def loop(s: int, n: int, h: int) -> dict[str, float]:
        return oracle.copying(attention[n][s, h], case.logits("other", n, s)[h], tokens[s])

    reader = Copying(case.model, attended=True)
    read(case.model, case.other, [reader])
    for name in ("argmax", "attended", "on_content", "on_itself"):
        case.equal(reader.items(name), lambda *at, name=name: loop(*at)[name])
    for name in ("argmax", "attended"):
        scores = copying_score(case.model, case.other, name, draws=0)
        torch.testing.assert_close(scores.per_item, reader.items(name))
    told = scores.provenance
    torch.testing.assert_close(told["share of j* = i"], reader.items("on_itself").mean(0))
    torch.testing.assert_close(told["mean attention on content"], reader.items("on_content").mean(0))
    assert told["chance"] == pytest.approx(np.mean([1 / i for i in range(2, len(tokens[0]))]))


@EVERY
def test_copying_of_the_attended_token(case: Case) -> None:
    check_copying(case)


def check_direct_effect(case: Case) -> None:
    tokens = case.repeated.tokens.tolist()

    @lru_cache
    def loop(s: int, n: int, h: int) -> dict[str, float]:
        return oracle.direct_effect(case.logits("repeated", n, s)[h], tokens[s], case.length)

    for name in ("successor", "signed"):
        found = copying_score(case.model, case.repeated, name, draws=0)
        case.equal(found.per_item, lambda *at, name=name: loop(*at)[name])
    reader = DirectEffect(case.model)
    read(case.model, case.repeated, [reader])
    case.equal(reader.scores("signed_auc").per_item, lambda *at: loop(*at)["signed_auc"])


@EVERY
def test_direct_effect_along_the_induction_path(case: Case) -> None:
    check_direct_effect(case)


@EVERY
def test_wrong_token_tables(case: Case) -> None:
    attention, tokens = case.seen["repeated"].attention, case.repeated.tokens.tolist()
    fold, effect = WrongToken(case.model), DirectEffect(case.model)
    read(case.model, case.repeated, [fold, effect])
    for d in range(1, case.length - 1):
        wrong = [oracle.wrong_copies(row, case.length, d) for row in tokens]

        def prefix(s: int, n: int, h: int, which: int = 0, wrong: Any = wrong) -> float:
            return oracle.prefix_matching(attention[n][s, h], wrong[s], oracle.reach(case.hf, n))[which]

        def duplicate(s: int, n: int, h: int, wrong: Any = wrong) -> float:
            return oracle.duplicate_token(attention[n][s, h], wrong[s])

        def table(name: Any, d: int = d) -> torch.Tensor:
            return torch.stack([item[d - 1] for item in fold.tables(name)])

        case.equal(table("prefix"), prefix)
        case.equal(table("olsson"), lambda *at, prefix=prefix: prefix(*at, which=1))
        case.equal(table("duplicate"), duplicate)
        for name in ("successor", "signed"):
            seen = effect.items(name)[..., 1 + d]
            case.equal(
                seen,
                lambda s, n, h, name=name, d=d: oracle.direct_effect(
                    case.logits("repeated", n, s)[h], tokens[s], case.length, d
                )[name],
            )


@EVERY
def test_the_wrong_token_at_no_distance_is_the_score_itself(case: Case) -> None:
    fold, prefix, duplicate = WrongToken(case.model), PrefixMatching(case.model), DuplicateToken(case.model)
    read(case.model, case.repeated, [fold, prefix, duplicate])
    torch.testing.assert_close(fold.items("prefix")[..., 0], prefix.items("mean"), **CLOSE)
    torch.testing.assert_close(fold.items("olsson")[..., 0], prefix.items("olsson"), **CLOSE)
    torch.testing.assert_close(fold.items("duplicate")[..., 0], duplicate.items("mean"), **CLOSE)


@EVERY
def test_the_same_entries_on_other_sequences(case: Case) -> None:
    """N2, and the previous-token score's other distances."""
    attention = case.seen["other"].attention
    prefix = PrefixMatching(case.model, like=case.repeated)
    duplicate, previous = DuplicateToken(case.model, like=case.repeated), PreviousToken(case.model)
    read(case.model, case.other, [prefix, duplicate, previous])
    for which, name in enumerate(("mean", "olsson")):
        case.equal(
            prefix.items(name),
            lambda s, n, h, which=which: oracle.prefix_matching(
                attention[n][s, h], case.pairs, oracle.reach(case.hf, n)
            )[which],
        )
    case.equal(duplicate.items("mean"), lambda s, n, h: oracle.duplicate_token(attention[n][s, h], case.pairs))
    for at, d in enumerate(range(2, case.length)):
        seen = torch.stack([table[at] for table in previous.tables()])
        case.equal(seen, lambda s, n, h, d=d: oracle.previous_token(attention[n][s, h], d))
    assert len(previous.tables()[0]) == case.length - 2


@EVERY
def test_another_token_of_the_context_in_the_attended_ones_place(case: Case) -> None:
    """The null of copying: one u for a token and a draw, whatever attends to it."""
    tokens, attention, draws = case.other.tokens.tolist(), case.seen["other"].attention, 3
    reader = Copying(case.model, attended=True, null_values=draws, attended_values=draws, seed=4)
    read(case.model, case.other, [reader])
    for draw in range(draws):
        u = reader.content.places[..., draw].double().numpy()
        assert (u[0] != u[1]).all()

        def loop(s: int, n: int, h: int, name: str, u: Any = u) -> float:
            found = oracle.copying(
                attention[n][s, h], case.logits("other", n, s)[h], tokens[s], lambda j, size: int(u[s, j] * size)
            )
            return found[name]

        for name in ("argmax", "attended"):
            case.equal(reader.items(f"{name}_null")[..., draw], lambda *at, loop=loop, name=name: loop(*at, name))


@pytest.mark.parametrize("two_sided", [False, True])
def test_p_values_equal_the_loops(two_sided: bool) -> None:
    """Tables [shift layer head] of four sequences; the draws are drawn again here."""
    generator = torch.Generator().manual_seed(0)
    tables = [torch.rand(5, 2, 3, generator=generator) for _ in range(4)]
    observed = torch.rand(2, 3, generator=generator) * 0.3 + 0.5
    null = wrong_token_null(observed, tables, draws=200, seed=9, two_sided=two_sided)
    picks = np.random.default_rng((9, 1))
    spread = [(table.double().numpy(), table.double().numpy().mean(0)) for table in tables]
    wider = [mean + (values - mean) * 1.5**0.5 for values, mean in spread]  # (5 + 1) / (5 - 1)
    drawn = np.mean([values[picks.integers(0, 5, size=200)] for values in wider], axis=0)
    p, family = oracle.p_values(observed.double().numpy(), drawn.astype(np.float32).astype(float), two_sided=two_sided)
    assert isinstance(null, Null)
    np.testing.assert_allclose(null.p.numpy(), p, rtol=1e-6)
    np.testing.assert_allclose(null.p_family.numpy(), family, rtol=1e-6)
    np.testing.assert_allclose(null.mean.numpy(), drawn.mean(0), rtol=1e-5)
    assert len(set(p.flatten())) > 4 and (family >= p).all()


def test_the_position_null_draws_sequences_again() -> None:
    items = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(1))
    null = position_null(items.mean(0), items, draws=20000, seed=2)
    torch.testing.assert_close(null.mean, items.mean(0), rtol=0, atol=0.01)
    assert ((null.p - 0.5).abs() < 0.05).all()


@pytest.mark.slow
def test_smollm2_equals_the_loops(smollm2: HookedModel) -> None:
    from transformers import AutoModelForCausalLM

    import interp.embedded

    folder = interp.embedded.embedded_model("smollm2-135m")
    hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    repeated = tiny.sequences(smollm2, length=10, repeats=4)
    other = unrepeated_twin(smollm2, repeated)
    case = Case(oracle.FAMILIES["llama"], smollm2, hf, repeated, other, (0, 16, 17, 18, 23, 24, 29))
    check_attention_scores(case)
    few = Case(oracle.FAMILIES["llama"], smollm2, hf, repeated, other, (17, 23, 24))
    check_copying(few)
    check_direct_effect(few)
