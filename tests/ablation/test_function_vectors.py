"""Function-vector heads: effects against whole runs, scores against arithmetic by hand, nulls against nothing."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import interp
from ablation.function_vectors import TaskEffects, assembled, function_vectors, mean_z
from ablation.statistics.sign_flips import sign_flips
from ablation.tasks import load_task
from ablation.vector_tasks import vector_task as load
from interp import HookedModel
from interp.errors import UsageError
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.interp.families import build


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return interp.load_model(build("llama"), tokenizer=tokenizer(), check=False)


# --- effects -----------------------------------------------------------------------------------------------------


def slow_mean(model: HookedModel, prompts, function: str, task) -> Tensor:  # type: ignore[no-untyped-def]
    """zbar from whole caches."""
    held = [
        tokens.context
        for document, tokens in zip(prompts.documents, prompts.token_documents(model), strict=True)
        if task.function_of(document) == function
    ]
    with torch.no_grad():
        z = [model.run_with_cache(torch.tensor([ids]), ["z"])[1]["z"][:, 0, -1] for ids in held]
    return torch.stack(z).double().mean(0)


def slow_outcomes(model: HookedModel, tokens, gold: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """choice (margin where a choice begins another) and the first token's probability, from whole runs."""
    found = []
    for choice in tokens.choices:
        with torch.no_grad():
            logits = model(torch.tensor([[*tokens.context, *choice]]))[0, len(tokens.context) - 1 : -1].double()
        found.append(logits.log_softmax(-1)[range(len(choice)), list(choice)].sum())
        if len(found) - 1 == gold:
            prob = float(logits[0].softmax(-1)[choice[0]])
    ll = torch.stack(found)
    return float(ll[gold] - ll.logsumexp(0)), prob


@pytest.mark.parametrize(
    "options",
    [
        {"lengths": (1, 2, 5, 3)},
        {"lengths": (1, 1)},
        {"lengths": (2, 3, 2), "shared_first": True},
        {"lengths": (1, 2), "pools": ("a", "b")},
    ],
    ids=["one to five tokens", "two labels", "a first token shared", "two functions"],
)
def test_effects_are_whole_runs_with_the_mean_put_in(model: HookedModel, options: dict) -> None:  # type: ignore[type-arg]
    task = vector_task(n_queries=15, **options)
    found = function_vectors(model, task).tasks[0]
    queries = list(zip(task.queries.documents, task.queries.token_documents(model), strict=True))
    for row in (0, 7, 14):
        document, tokens = queries[row]
        means = [slow_mean(model, prompts, task.function_of(document), task) for prompts in (task.mean, task.null)]
        plain = slow_outcomes(model, tokens, document.gold)
        assert (float(found.plain_choice[row]), float(found.plain_prob[row])) == pytest.approx(plain, abs=1e-5)
        for z, choice, prob in (
            (means[0], found.right_choice, found.right_prob),
            (means[1], found.wrong_choice, found.wrong_prob),
        ):
            for head in ((0, 1), (1, 3)):
                with model.patched({head: z[head][None]}, positions=[len(tokens.context) - 1]):
                    patched = slow_outcomes(model, tokens, document.gold)
                effect = (float(choice[row][head]), float(prob[row][head]))
                assert effect == pytest.approx(np.subtract(patched, plain), abs=1e-5)


def test_each_function_has_a_mean_of_its_own(model: HookedModel) -> None:
    task = vector_task(pools=("a", "b"))
    assert task.functions == ("words/a", "words/b")
    means = mean_z(model, task, "mean")
    for name in task.functions:
        torch.testing.assert_close(means[name].double(), slow_mean(model, task.mean, name, task), atol=1e-6, rtol=0)
    assert float((means["words/a"] - means["words/b"]).abs().max()) > 1e-3


# --- scores ------------------------------------------------------------------------------------------------------


def effects(name: str, right: Tensor, wrong: Tensor, *, clusters: int = 0) -> TaskEffects:
    n = len(right)
    return TaskEffects(
        task=name,
        documents=tuple(f"{name}/{i}" for i in range(n)),
        clusters=tuple(f"{name}/{i % clusters if clusters else i}" for i in range(n)),
        right_choice=right,
        wrong_choice=wrong,
        right_prob=right / 10,
        wrong_prob=wrong / 10,
        plain_choice=torch.zeros(n),
        plain_prob=torch.zeros(n),
        n_mean=4,
        changed=1.0,
    )


def drawn(tasks: int, *, seed: int = 0, shift: float = 0.0, shape: tuple[int, int] = (2, 4)) -> list[TaskEffects]:
    """Effects with a spread over tasks and over queries; head 1.2 has `shift` more."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for t in range(tasks):
        n = 15 + t
        right = torch.randn(n, *shape, generator=generator) + 0.5 * torch.randn(shape, generator=generator)
        right[:, 1, 2] += shift
        made.append(effects(f"t{t}", right, 0.3 * torch.randn(n, *shape, generator=generator)))
    return made


def test_scores_are_means_over_tasks_less_the_content_null(model: HookedModel) -> None:
    tasks = drawn(6)
    found = assembled(model, tasks, {}, {})
    net = np.stack([(t.right_choice - t.wrong_choice).double().numpy().mean(0) for t in tasks])
    np.testing.assert_allclose(found.scores.mean, net.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        found.prob.mean, np.mean([t.right_prob.double().numpy().mean(0) for t in tasks], 0), atol=1e-6
    )
    np.testing.assert_allclose(
        found.prob.null_mean, np.mean([t.wrong_prob.numpy().mean(0) for t in tasks], 0), atol=1e-6
    )
    reach = stats.t.ppf(0.975, 5) * net.std(0, ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(found.over_tasks[0], net.mean(0) - reach, atol=1e-5)
    np.testing.assert_allclose(found.over_tasks[1], net.mean(0) + reach, atol=1e-5)
    assert found.scores.n == sum(len(t.documents) for t in tasks) == len(found.scores.per_item)


def test_with_the_tasks_fixed_only_their_documents_vary(model: HookedModel) -> None:
    """One task, a cluster a query: Student's interval of a mean. Clusters of equal queries: as if each were one."""
    (task,) = drawn(1)
    items = (task.right_choice - task.wrong_choice).double().numpy()
    found = assembled(model, [task], {}, {}).scores
    low, high = stats.t.interval(0.95, 14, items.mean(0), stats.sem(items))
    np.testing.assert_allclose(found.ci_low, low, atol=1e-5)
    np.testing.assert_allclose(found.ci_high, high, atol=1e-5)
    doubled = effects("t", task.right_choice.repeat(3, 1, 1), task.wrong_choice.repeat(3, 1, 1), clusters=15)
    again = assembled(model, [doubled], {}, {}).scores
    torch.testing.assert_close(again.ci_low, found.ci_low)
    assert not found.nulls and assembled(model, [task], {}, {}).heads == ()


def test_sign_flips_are_all_ways_of_flipping() -> None:
    values = np.random.default_rng(0).normal(size=(6, 2, 3)) + np.array([[[1.0, 0, 0], [0, 0, 0]]])
    found = sign_flips(values)
    assert found is not None and found.draws == 63
    means = [(np.array(signs)[:, None, None] * values).mean(0) for signs in itertools.product((1, -1), repeat=6)]
    left, before = list(np.ndindex(2, 3)), 0.0
    for place in sorted(left, key=lambda one: -values.mean(0)[one]):  # step by step, the largest first
        seen = values.mean(0)[place] - 1e-12
        assert found.p[place] == np.mean([mean[place] >= seen for mean in means])
        before = max(before, float(np.mean([max(mean[one] for one in left) >= seen for mean in means])))
        assert found.p_family[place] == before
        left.remove(place)
    assert sign_flips(values[:4]) is None
    many = sign_flips(np.random.default_rng(1).normal(size=(20, 5)) + 0.2)
    assert many is not None and many.draws == 2**14 - 1 and (many.p_family >= many.p).all()
    holes = np.where(np.arange(6)[:, None, None] == 2, np.nan, values)
    assert np.isnan(sign_flips(holes).p).all()  # type: ignore[union-attr]


def test_nothing_is_called_where_there_is_nothing() -> None:
    """400 studies of 8 tasks and 50 heads that share noise: some head is above null in 5% of them, no more."""
    generator = np.random.default_rng(3)
    called = 0
    for _ in range(400):
        task = generator.normal(size=(8, 1)) * generator.normal(size=50)
        flips = sign_flips(task + generator.normal(size=(8, 50)) * generator.uniform(0.2, 2, size=50))
        assert flips is not None
        called += bool((flips.p_family <= 0.05).any())
    assert called <= 30  # a rate of .05 exceeds this once in 100


def test_fv_heads_are_top_above_null_and_often_positive(model: HookedModel) -> None:
    tasks = drawn(8, shift=3.0)
    found = assembled(model, tasks, {}, {})
    assert [(head.layer, head.head) for head in found.heads] == [(1, 2)]  # 2% of 8 heads is one
    assert assembled(model, drawn(8), {}, {}).heads == ()
    rarely = [
        effects(t.task, t.right_choice * (1 if number < 3 else -0.01), t.wrong_choice * 0)
        for number, t in enumerate(tasks)
    ]
    assert assembled(model, rarely, {}, {}).heads == ()
    assert assembled(model, tasks[:4], {}, {}).heads == ()  # four tasks have no p


def test_means_of_wrong_labels_make_no_fv_head(model: HookedModel) -> None:
    """On a real, if tiny, model: the mean set's labels are as random as the null's."""
    called = 0
    for study in range(5):
        tasks = [
            vector_task(f"s{study}t{n}", n_mean=4, n_queries=15, lengths=(1, 1), seed=study, mean_labels="wrong")
            for n in range(5)
        ]
        found = function_vectors(model, tasks)
        assert found.scores.nulls
        called += bool(found.heads)
    assert called <= 1  # at most 1 in 32 a study: two of five in 1% of runs


# --- what is left out, and what is refused -------------------------------------------------------------------------


def test_a_task_with_too_few_usable_queries_is_left_out(model: HookedModel) -> None:
    good, short = vector_task("good"), vector_task("short", n_queries=14)
    found = function_vectors(model, [good, short])
    assert [task.task for task in found.tasks] == ["good"]
    assert found.left_out == {"short": "14 of 14 queries can be used, where 15 are needed"}
    with pytest.raises(UsageError, match=r"no task can be scored: short: 14 of 14 queries"):
        function_vectors(model, short)


def test_queries_that_can_t_be_asked_are_named(model: HookedModel) -> None:
    task = vector_task("odd", n_queries=17)
    documents = list(task.queries.documents)
    documents[0] = replace(documents[0], queries=("w5 w6", "w5 w7", "w5 w8"))
    documents[1] = replace(documents[1], continuations=(" w9", " w9", " w10"))
    found = function_vectors(model, replace(task, queries=replace(task.queries, documents=tuple(documents))))
    assert len(found.tasks[0].documents) == 15
    contexts, same = found.tasks[0].left_out
    assert contexts == "the choices of odd/queries/0 are contexts: they have no last position in common"
    assert same == "two of the 3 choices of odd/queries/1 are the same text to this model"
    longest = replace(documents[2], queries=(" ".join(["w5"] * 90),) * 3)
    held = replace(task.queries, documents=(longest, *task.queries.documents[:15]))
    cut = function_vectors(model, replace(task, queries=held)).tasks[0].left_out
    assert cut == (f"the prompt of {longest.id} is longer than the model's context",)


def test_documents_have_one_use(model: HookedModel) -> None:
    task = vector_task()
    with pytest.raises(UsageError, match=r"1 documents of words stand in two .*'words/mean/0'"):
        replace(task, queries=replace(task.queries, documents=(task.mean.documents[0], *task.queries.documents)))
    shown = task.mean.documents[0].demonstrations[0]
    asked = replace(task.queries.documents[0], id=shown.id)
    with pytest.raises(UsageError, match="must not be tested on what it was made of"):
        replace(task, queries=replace(task.queries, documents=(asked,)))


def test_names_that_can_t_be_loaded_are_left_out_with_their_reason(
    model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, **options: object) -> None:
        raise UsageError(f"{name} has no train documents")

    monkeypatch.setattr(sys.modules["ablation.function_vectors"], "vector_task", refuse)
    found = function_vectors(model, [vector_task(), "no_such"])
    assert found.left_out == {"no_such": "no_such has no train documents"}
    assert found.provenance["tasks"] == ["words"] and found.provenance["queries"] == [16]


# --- the probes' own prompts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "functions"), [("probe_capitals", 4), ("probe_labels", 2)])
def test_a_probe_s_prompts_share_no_item(name: str, functions: int) -> None:
    task = load(name, queries=40)
    assert len(task.functions) == functions and task.changed == 1.0
    assert len(task.queries.documents) == 40 and 40 <= len(task.mean.documents) <= 64
    pools = [{d.cluster for d in part.documents} for part in (task.mean, task.queries)]
    shown = {
        demonstration.id
        for part in (task.mean, task.null, task.queries)
        for document in part.documents
        for demonstration in document.demonstrations
    }
    screen = {document.id for document in load_task(name, split="train", part="screen").documents}
    used = {d.id for part in (task.mean, task.queries) for d in part.documents}
    assert not pools[0] & pools[1] and not used & shown and not used & screen and not shown & screen
    assert all("/train/" in one for one in used | shown)
    assert [d.id for d in task.mean.documents] == [d.id for d in task.null.documents]
    assert [d.id for d in task.plain.documents] == [d.id for d in task.queries.documents]
    for right, wrong in zip(task.mean.documents, task.null.documents, strict=True):
        assert len(right.demonstrations) == 10
        for a, b in zip(right.demonstrations, wrong.demonstrations, strict=True):
            assert a.id == b.id and a.text != b.text and a.text.split("Output:")[0] == b.text.split("Output:")[0]
    nothing = load(name, queries=15, mean_labels="wrong")
    assert [d.id for d in nothing.mean.documents] == [d.id for d in nothing.null.documents]
    assert nothing.mean.documents[0].context != nothing.null.documents[0].context
