"""Measure what the paper's released code and version 0.1 did to the numbers; write the two tables of docs/method.md.

    python docs/deviations.py

The released code: with the variants called `bansal_released` and `paper`, on the hand-built model of the tests, on
simulated score tables of the paper's size (64 layers x 72 heads), and on the embedded model. Version 0.1: by its rules,
which are written down here, beside the present ones, in simulations, on the embedded model and in its published study.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import binom, rankdata

from ablation.statistics.verdict import CHOICE_MARGIN

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "method.md"
PUBLISHED = ROOT / "docs" / "results" / "smollm2-135m" / "probes"
BEGIN, END = "<!-- made by docs/deviations.py -->", "<!-- end -->"
VERSION_0_1 = "<!-- version 0.1: made by docs/deviations.py -->"
HEADINGS = {
    BEGIN: "| the released code | headscope | effect | headscope's value | the released code's |",
    VERSION_0_1: "| version 0.1 | now | effect | value now | in version 0.1 |",
}
LENGTH = 25
LAYERS, HEADS, TABLES = 64, 72, 20
TASK, SHOTS, DOCUMENTS = "probe_capitals", 5, 16
# SmolLM2-135M: layers, heads a layer, and how many induction heads there are in each layer that has some (README.md).
SMALL_LAYERS, SMALL_HEADS, CLASSED, SIMULATIONS = 30, 9, (3, 2, 1, 4, 1), 10_000
SCREENED, TRUE_ACCURACY, CHANCE = 14, 0.35, 0.25
SPLIT_TASK, SPLIT_DOCUMENTS = "probe_pattern", 40
Row = tuple[str, str, str, str, str]


def prefix_matching() -> Iterator[Row]:
    """A head that looks at the first content token and nowhere else."""
    from induction.bansal_released import released_pairs
    from induction.sequences import earlier_copies

    tokens = torch.cat([torch.tensor([0]), torch.arange(1, LENGTH + 1).repeat(4)])
    attention = torch.zeros(len(tokens), len(tokens))
    attention[1:, 1] = 1.0
    ours = earlier_copies(tokens, torch.arange(len(tokens)) > 0)
    mine = float(attention[ours.prefix_pairs].sum()) / len(ours.query_positions)
    released = float(attention[released_pairs(LENGTH, 4)].sum()) / (3 * LENGTH)
    yield (
        "prefix matching also credits the token behind BOS, at queries whose position is a multiple of L",
        "targets from token equality: no copy, no credit",
        f"too high by up to 1/L; a head that looks only at the first content token, L = {LENGTH}:",
        f"{mine:.3f}",
        f"{released:.3f}",
    )


def copying() -> Iterator[Row]:
    """The head of the tests' hand-built model that says the previous token."""
    import induction
    from tests.induction import handmade

    model = handmade.model()
    plain = induction.repeated_sequences(model, length=40, repeats=1, sequences=4)
    at = (0, 2)
    mine, released = (
        float(induction.copying_score(model, plain, variant, draws=0).mean[at])  # type: ignore[arg-type]
        for variant in ("argmax", "bansal_released")
    )
    yield (
        "copying applies the OV circuit to the query's **own** value, feeds every layer the raw embedding, skips the "
        "final norm, counts BOS, and adds the output bias to every head",
        "the head's real output at the query, through the norms that follow it",
        "a head that attends to the previous token and writes exactly that token:",
        f"{mine:.2f}",
        f"{released:.2f}",
    )


def rank_correlation() -> Iterator[Row]:
    """Simulated scores of 4,608 heads: related ones, and ones that share nothing but a trend over layers."""
    from ablation.statistics import bansal_released, spearman, spearman_within_layers

    def pair(seed: int, shared: float, trend: float) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        common, layers = draw.normal(size=(LAYERS, HEADS)), np.linspace(-1, 1, LAYERS)[:, None]
        noise = (draw.normal(size=(LAYERS, HEADS)) for _ in range(2))
        a, b = (trend * layers + shared * common + (1 - shared**2) ** 0.5 * own for own in noise)
        return a, b

    def mean(statistic: Any, shared: float, trend: float) -> float:
        return float(np.mean([statistic(*pair(seed, shared, trend)).value for seed in range(TABLES)]))

    told = "rank correlations correlate `argsort` outputs, that is head **numbers**", "scores, with averaged ties"
    for statistic, shared, trend, what in (
        (spearman, 0.976, 0, "two rankings that agree closely (Spearman over all heads):"),
        (spearman_within_layers, 0, 2, "two rankings that share a trend over layers and nothing else (within layers):"),
    ):
        values = (round(mean(one, shared, trend), 2) + 0.0 for one in (statistic, bansal_released))  # no -0.00
        mine, released = (f"{value:.2f}" for value in values)
        yield (*told, what, mine, released)


def last_layer(model: Any) -> Iterator[Row]:
    """Where the last layer's heads stand in the ranking, 0 to 100."""
    import ablation
    from ablation.importance import importance

    task = ablation.load_task(TASK, shots=SHOTS, limit=DOCUMENTS, split="train")
    found = importance(model, task)
    places = []
    for rule in ("uniform", "paper"):
        scores = found.heads(normalise=rule).mean
        ranks = scores.flatten().argsort().argsort().view_as(scores).float() / (scores.numel() - 1)
        places.append(float(ranks[-1].mean()))
    factor = float((found.lengths - 1).sum() / found.target_lengths.sum())
    yield (
        "importance divides the last layer alone by the number of answer tokens (`--normalise paper`)",
        "all layers by the same number (`uniform`)",
        f"lifts the last layer {factor:.0f} times (SmolLM2-135M, {TASK} at {SHOTS} shots); mean rank percentile of its "
        "heads:",
        f"{places[0]:.0%}",
        f"{places[1]:.0%}",
    )


def primary_test() -> Iterator[Row]:
    """Simulated importances in which every induction head is the first of its layer, and nothing else is related."""
    rng = np.random.default_rng(0)

    def statistics(signal: float) -> tuple[np.ndarray, np.ndarray]:
        prefix, importance = (rng.normal(size=(SIMULATIONS, SMALL_LAYERS, SMALL_HEADS)) for _ in range(2))
        classed = np.zeros((SMALL_LAYERS, SMALL_HEADS), dtype=bool)
        for layer, count in enumerate(CLASSED):
            classed[layer, :count] = True
        ranks = [rankdata(scores + signal * classed, axis=-1) for scores in (prefix, importance)]
        squares = ((ranks[0] - ranks[1]) ** 2).sum(-1)
        spearman = 1 - 6 * squares / (SMALL_HEADS * (SMALL_HEADS**2 - 1))
        places = 2 * (ranks[1] - 1) / (SMALL_HEADS - 1) - 1
        return spearman.mean(-1), places[:, classed].mean(-1)

    power = [
        float((np.abs(tested) > np.quantile(np.abs(null), 0.95)).mean())
        for null, tested in zip(statistics(0.0), statistics(1e6), strict=True)
    ]
    yield (
        "5: the relation of induction and importance by the mean of all layers' Spearman coefficients",
        "by the rank of the classed heads within their layers (T)",
        f"power at .05 where all {sum(CLASSED)} induction heads of {SMALL_LAYERS} x {SMALL_HEADS} lead their layers "
        "and nothing else is related (simulated):",
        f"{power[1]:.2f}",
        f"{power[0]:.2f}",
    )


def screening() -> Iterator[Row]:
    """The accuracy that tasks seem to have once they were selected: on the documents that give it, and on others."""
    from ablation.statistics.intervals import PROPORTION, cluster_mean

    right = np.arange(SCREENED + 1)
    labels = np.arange(SCREENED)
    bounds = [cluster_mean((labels < count) * 1.0, labels, pseudo=PROPORTION).lower_bound() for count in right]
    drawn = binom.pmf(right, SCREENED, TRUE_ACCURACY)
    passed = drawn * (np.array(bounds) > CHANCE)
    # how likely each count of right ones is in the baseline of a selected task
    same = passed / passed.sum()
    other = (passed[:, None] * drawn).sum(axis=0) / passed.sum()
    yield (
        "4: tasks selected on the documents that give the baseline",
        "on documents used for nothing else",
        f"mean baseline of selected tasks whose true accuracy is {TRUE_ACCURACY} (chance {CHANCE}, {SCREENED} "
        "documents, exact):",
        *(f"{float(share @ right) / SCREENED:.2f}" for share in (other, same)),
    )


def centring(model: Any) -> Iterator[Row]:
    """OV copying with the unembedding as it is and centred over the tokens."""
    from induction.circuits import DirectPath
    from induction.ov_circuit import TOKENS, _layer_scores, effective_embedding, random_tokens

    with torch.no_grad():
        path, chosen = DirectPath(model), random_tokens(model, TOKENS, 0)
        embedding, columns = effective_embedding(model, chosen), path.columns(chosen)
        plain, centred = (
            torch.stack([_layer_scores(model, path, layer, embedding, part) for layer in model.attention_layers])
            for part in (columns, columns - columns.mean(-1, keepdim=True))
        )
    changed = int((plain.sign() != centred.sign()).sum())
    yield (
        "2.3: the unembedding as it is",
        "centred over the sampled tokens",
        f"{changed} of {plain.numel()} heads of SmolLM2-135M change sign; heads 23.7 (copying) and 17.3:",
        f"{centred[23, 7]:+.2f}, {centred[17, 3]:+.2f}",
        f"{plain[23, 7]:+.2f}, {plain[17, 3]:+.2f}",
    )


def outcome(model: Any) -> Iterator[Row]:
    """How much of what demonstrations add to the right answer's log-likelihood is choice."""
    import ablation

    sums, choices = [], []
    for shots in (0, SHOTS):
        found = ablation.evaluate(model, ablation.load_task(SPLIT_TASK, shots=shots, limit=SPLIT_DOCUMENTS))
        sums.append(float(found.gold_log_likelihoods.mean()))
        mass = np.array([logsumexp(row) for row in found.log_likelihoods])
        choices.append(float((found.gold_log_likelihoods - mass).mean()))
    yield (
        "4: the outcome is the right answer's log-likelihood (`sum`)",
        "`choice`, with `mass` apart",
        f"what {SHOTS} examples add on {SPLIT_TASK} ({SPLIT_DOCUMENTS} documents, SmolLM2-135M), in nats:",
        f"{choices[1] - choices[0]:.1f}",
        f"{sums[1] - sums[0]:.1f}",
    )


def published() -> Iterator[Row]:
    """What version 0.1's way of asking gives in the published study of SmolLM2-135M on the probes."""
    from ablation.statistics.class_rank import class_rank
    from ablation.statistics.kv_groups import kv_groups
    from headscope.comparison.scored import Shelf
    from headscope.store.run import open_run

    run = open_run(PUBLISHED)
    rows = run.comparisons

    def of(kind: str, **wanted: Any) -> Any:
        found = rows[rows["kind"] == kind]
        for column, value in wanted.items():
            found = found[found[column] == value]
        return found

    def only(kind: str, **wanted: Any) -> Any:
        (line,) = of(kind, **wanted).itertuples(index=False)
        return line

    exact = {"a": "aggregate", "level": "knock_out_mean/choice"}
    now, before = (
        only("knock_out_spearman", b=f"importance/{name}", **exact) for name in ("signed/choice/mean", "signed")
    )
    yield (
        "3.1: importance with the objective `sum`, of removal by zero (`signed`)",
        "of the choice, and of removal by the mean (`signed/choice/mean`)",
        f"Spearman of the aggregate with exact knock-outs of {now.n} heads by their mean:",
        f"{now.value:.2f}",
        f"{before.value:.2f}",
    )
    mean, zero = (only("primary_beyond", level=f"choice/{way}") for way in ("mean", "zero"))
    yield (
        "3.3: heads removed by zero",
        "replaced by their mean, zero beside it",
        "drop of the choice gain beyond matched heads, in nats:",
        f"{mean.value:.2f}",
        f"{zero.value:.2f}",
    )
    judged, open_ones = (len(of(f"{kind}_kept")) for kind in ("removable", "deciding"))
    yield (
        "4: a removable share is what is shown, with no word for what is not decided",
        "`undecided` apart, with the documents that would decide",
        f"of {judged} shares (tasks, orders, components; 95% of the choice gain), told as undecided:",
        f"{open_ones}",
        "0",
    )
    beyond = only("primary_beyond", level="choice/mean")
    descriptive = only("induction_importance_descriptive")
    yield (
        "5: the primary test is a mean of rank correlations of all layers",
        "the drop of the choice gain without the induction heads, beyond matched heads",
        "value and 95% interval (nats; rank correlation):",
        f"{beyond.value:+.2f} [{beyond.ci_low:.2f}, {beyond.ci_high:.2f}]",
        f"{descriptive.value:+.2f} [{descriptive.ci_low:.2f}, {descriptive.ci_high:.2f}], p {descriptive.p:.2f}",
    )
    shelf, rank = Shelf(run), only("class_rank")
    table = shelf.aggregate("knock_out_mean", "choice", rank.shots).table
    layers, heads = table.shape
    ranked = [
        class_rank(table, shelf.induction_heads, groups=groups, family=12)
        for groups in (shelf.groups, kv_groups(layers, heads, heads))
    ]
    yield (
        "5: permutations take the heads of a key-value group for independent ones",
        "groups are shuffled, then the heads of each",
        f"T = {rank.value:.2f} of {rank.n} induction heads: p is under .05 where T is farther from 0 than:",
        *(f"{found.critical:.2f}" for found in ranked),
    )
    pairs = of("cross_task", shots=0, level="global")
    low = pairs.sort_values("value").iloc[0]
    yield (
        "5: the paper's .13, its lowest pair of tasks, beside a mean over all pairs",
        "beside the lowest pair here",
        f"rank correlation of {low['a']} and {low['b']}; mean over {len(pairs)} pairs:",
        f"{low['value']:.2f}",
        f"{pairs['value'].mean():.2f}",
    )
    needed = of("ffn_needed", level="choice/mean")
    shown = needed[(needed["p_holm"] < 0.05)]
    yield (
        "5: an FFN is needed if its cost is above the margin",
        "if its one-sided bound is, over all FFNs together (Holm)",
        f"of {len(needed)} FFNs, replaced by their mean, needed for the choice:",
        f"{len(shown)}",
        f"{int((needed['value'] > CHOICE_MARGIN).sum())}",
    )


def cheap_rows() -> list[Row]:
    """What the released code did, as far as it needs no real model."""
    return [*prefix_matching(), *copying(), *rank_correlation()]


def cheap_rows_of_version_0_1() -> list[Row]:
    """What version 0.1 did, as far as it needs no real model."""
    return [*screening(), *primary_test(), *published()]


def table(rows: list[Row], mark: str = BEGIN) -> str:
    """Rows as Markdown."""
    return "\n".join([HEADINGS[mark], "|---|---|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)])


def written(mark: str, text: str, found: str) -> str:
    """The page with a table in place of the one behind a mark."""
    head, rest = text.split(mark)
    return f"{head}{mark}\n{found}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    import interp

    model = interp.load_model("smollm2-135m")
    rows = {
        BEGIN: [*cheap_rows(), *last_layer(model)],
        VERSION_0_1: [*centring(model), *outcome(model), *cheap_rows_of_version_0_1()],
    }
    text = PAGE.read_text(encoding="utf-8")
    for mark, found in rows.items():
        print(table(found, mark))
        text = written(mark, text, table(found, mark))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # for the tests' hand-built model
    main()
