"""The page of the small models from its tables: sentences and tables; no model is needed.

What a sentence says of all models it counts; nothing is written by hand that a number could contradict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path
from typing import Any

import pandas as pd
from small_models_figures import WIDTH, pictures
from small_models_tables import DETAIL, NAMES, Tables, Z

CHOICES = {"small_recall": 4, "small_kinds": 2, "small_facts": 3}
ALL = "all induction heads"


# ---- sentences ------------------------------------------------------------------------------------------------------


def sentences(tables: Tables) -> Iterator[str]:
    """What came out, in the order of the question."""
    yield one_layer(tables)
    yield more_layers(tables)
    yield from (gains(tables, task) for task in NAMES)
    yield together(tables)
    yield from alone(tables)
    yield removed(tables)


def one_layer(tables: Tables) -> str:
    rows = tables.heads[tables.heads["model"].isin(tables.shallow())]
    classed = int((rows["class"] != "").sum())
    above = int(rows["above_null"].map(truth).sum())
    held = count(tables.shallow(), "model")
    found = f"{classed} of {len(rows)} heads and checkpoints make" if classed else f"no head of {held} is ever"
    return (
        f"**One layer**: {found} an induction head. The highest prefix matching at any checkpoint is "
        f"{rows['prefix_matching'].max():.2f}; of {len(rows)} heads and checkpoints {above or 'none'} "
        f"{'is' if above == 1 else 'are'} above both nulls."
    )


def more_layers(tables: Tables) -> str:
    with_heads = [name for name in tables.deep() if tables.last(name)["induction_heads"] > 0]
    steps = [step for name in with_heads if (step := tables.first_step(name)) is not None]
    best = [float(tables.last(name)["strongest"]) for name in with_heads]
    return (
        f"**Two layers or more**: {len(with_heads)} of {count(tables.deep(), 'model')} end with induction heads, which "
        f"first stand at a checkpoint between steps {min(steps)} and {max(steps)}. At the end the strongest head of "
        f"each has a prefix matching of {min(best):.2f} to {max(best):.2f}."
        if with_heads
        else f"**Two layers or more**: none of {count(tables.deep(), 'model')} ends with an induction head."
    )


def gains(tables: Tables, task: str) -> str:
    says = {
        "small_recall": "the answer stands in the prompt, behind an earlier copy of the query",
        "small_kinds": "the label of the query's kind; the query itself was not shown",
        "small_facts": "the examples tell which fact is asked for, not the answer",
    }
    parts = [
        f"with {label} {learners(tables, held, task)}"
        for held, label in ((tables.shallow(), "one layer"), (tables.deep(), "more"))
        if held
    ]
    return (
        f"**Choice gain of {NAMES[task]}** ({says[task]}): {'; '.join(parts)}. From an even guess to certainty it is "
        f"{log(CHOICES[task]):.2f} nats."
    )


def learners(tables: Tables, held: Sequence[str], task: str) -> str:
    """`4 of 6 models learn it, by +1.35 to +1.41 nats, not llama-l2-d32`: the gain's 95% interval is above 0."""
    learnt = [name for name in held if learns(tables, name, task)]
    if not learnt:
        return f"none of {count(held, 'model')} learns it"
    values = spread([float(tables.last(name, task)["gain"]) for name in learnt])
    others = [name for name in held if name not in learnt]
    but = f", not {' or '.join(others)}" if others else ""
    return f"{len(learnt)} of {count(held, 'model')} learn{'s' if len(learnt) == 1 else ''} it, by {values} nats{but}"


def learns(tables: Tables, name: str, task: str) -> bool:
    row = tables.last(name, task)
    return float(row["gain"]) > Z * float(row["gain_stderr"])


def together(tables: Tables) -> str:
    """Whether prefix matching and the gain of recall rise in the same interval between checkpoints."""
    held = [name for name in tables.deep() if learns(tables, name, "small_recall")]
    same = sum(steepest(tables, name) == steepest(tables, name, "small_recall") for name in held)
    return (
        f"**When**: in {same} of {count(held, 'model')} that {'learns' if len(held) == 1 else 'learn'} recall, its "
        "choice gain and the strongest head's prefix matching rise most between the same two checkpoints."
    )


def steepest(tables: Tables, name: str, task: str = "") -> int:
    """The checkpoint before which the strongest head's prefix matching, or a task's gain, rises most."""
    values = tables.over_steps(name, task)["gain" if task else "strongest"].astype(float)
    return int(values.diff().idxmax())


def alone(tables: Tables) -> Iterator[str]:
    """Models that have induction heads and do not learn recall: the heads are not enough."""
    for name in tables.deep():
        if tables.last(name)["induction_heads"] > 0 and not learns(tables, name, "small_recall"):
            yield (
                f"**Not enough**: {name} ends with induction heads (prefix matching up to "
                f"{float(tables.last(name)['strongest']):.2f}) that serve it on repeats (repeat score "
                f"{float(tables.last(name)['repeat_score']):+.1f} nats), and does not learn recall."
            )


def removed(tables: Tables) -> str:
    """What recall loses without all induction heads, of the models that learn it."""
    rows = tables.removals[tables.removals["task"] == "small_recall"]
    parts = []
    for name in tables.deep():
        own = rows[rows["model"] == name].set_index("removed")["drop"].astype(float)
        if ALL in own.index and learns(tables, name, "small_recall"):
            parts.append((own[ALL], float(tables.last(name, "small_recall")["gain"])))
    if not parts:
        return "**Removal**: no model that learns recall has induction heads to remove."
    shares = [100 * drop / gain for drop, gain in parts]
    return (
        f"**Removal**: without all its induction heads (their mean in their place) a model that learns recall loses "
        f"{spread([drop for drop, _ in parts])} nats of its choice gain, {spread(shares, 0)}% of it."
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`+0.01 to +0.05`, or the one value."""
    sign = "+" if digits else ""
    ends = [f"{value + 0.0:{sign}.{digits}f}" for value in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def count(held: Sequence[str], noun: str) -> str:
    return f"{len(held)} {noun}" + ("" if len(held) == 1 else "s")


def truth(value: Any) -> bool:
    """A truth value as pandas reads it from a file whose empty cells are kept."""
    return str(value) == "True"


# ---- tables ---------------------------------------------------------------------------------------------------------


def at_the_end(tables: Tables) -> Iterator[list[str]]:
    yield [
        "model",
        "parameters",
        "heads",
        "induction heads",
        "strongest: prefix matching",
        "repeat score",
        *(f"gain, {name}" for name in NAMES.values()),
    ]
    for name in tables.names:
        last = tables.last(name)
        rows = tables.heads[(tables.heads["model"] == name) & (tables.heads["step"] == last.name)]
        best = rows.loc[rows["prefix_matching"].astype(float).idxmax()]
        yield [
            name,
            f"{int(last['parameters']):,}",
            str(len(rows)),
            str(last["induction_heads"]),
            f"{best['layer']}.{best['head']}: {best['prefix_matching']:.2f} "
            f"[{best['ci_low']:.2f}, {best['ci_high']:.2f}]",
            f"{float(last['repeat_score']):+.2f}",
            *(with_error(tables.last(name, task), "gain", "gain_stderr") for task in NAMES),
        ]


def when(tables: Tables) -> Iterator[list[str]]:
    yield [
        "model",
        "first checkpoint with an induction head",
        "strongest head, before and at it",
        "gain of recall, before and at it",
        "gain of kinds, before and at it",
    ]
    for name in tables.deep():
        step = tables.first_step(name)
        if step is None:
            yield [name, "none", "-", "-", "-"]
            continue
        series = [tables.over_steps(name)["strongest"], *(tables.over_steps(name, t)["gain"] for t in list(NAMES)[:2])]
        yield [name, str(step), *(before_and_at(one.astype(float), step) for one in series)]


def before_and_at(series: pd.Series, step: int) -> str:
    place = list(series.index).index(step)
    before = f"{series.iloc[place - 1]:.2f}" if place else "-"
    return f"{before}, {series.iloc[place]:.2f}"


def losses_without(tables: Tables) -> Iterator[list[str]]:
    yield [
        "model",
        "task",
        "choice gain",
        "loss without all induction heads",
        "most by one of them",
        "most by one other",
    ]
    for name in tables.names:
        heads = tables.heads[(tables.heads["model"] == name) & (tables.heads["step"] == tables.last(name).name)]
        found = heads[heads["class"] != ""]
        classed = {f"{layer}.{head}" for layer, head in zip(found["layer"], found["head"], strict=True)}
        if not classed:
            continue
        for task, label in NAMES.items():
            rows = tables.removals[(tables.removals["model"] == name) & (tables.removals["task"] == task)]
            rows = rows.set_index("removed")
            single = rows.drop(index=ALL)
            yield [
                name,
                label,
                f"{float(tables.last(name, task)['gain']):+.2f}",
                with_error(rows.loc[ALL], "drop", "stderr"),
                *(
                    most(single[[title in classed for title in single.index]]),
                    most(single[[title not in classed for title in single.index]]),
                ),
            ]


def most(rows: pd.DataFrame) -> str:
    """`1.3: +0.52`, the largest drop."""
    if rows.empty:
        return "-"
    drops = rows["drop"].astype(float)
    return f"{drops.idxmax()}: {drops.max():+.2f}"


def with_error(row: pd.Series, value: str, stderr: str) -> str:
    return f"{float(row[value]) + 0.0:+.2f} ± {Z * float(row[stderr]):.2f}"


def markdown(rows: Iterator[list[str]]) -> str:
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# ---- the page -------------------------------------------------------------------------------------------------------


TEMPLATE = """\
# Small models: induction heads form, and learning from context with them

{models} of one to four layers, trained from nothing on text that the project makes up, and measured at every
checkpoint. Everything here is written by two commands, and no number by hand:

```bash
python examples/train_small_models.py --out small-models
python docs/small_models.py small-models
```

{sentences}

## Over training

![Prefix matching of the strongest head, repeat score, loss on repeats and three choice gains by step](training.svg)

Colours tell the layers (grey 1, blue 2, green 3, purple 4), dashes GPT-2, thickness the width. The dotted line is the
threshold of prefix matching at which a head that is above both nulls counts as an induction head.

{when}

One model, {detail}, head by head (layer 0 blue, layer 1 red):

![Prefix matching and previous-token attention of every head by step, and the losses](heads.svg)

## Over sizes

![Prefix matching of every head and choice gains of every model at the end of training](sizes.svg)

{at_the_end}

## Without the heads

What the choice gain loses, in nats, when a head's output is replaced by its mean over training prompts: all induction
heads together, the one among them and the one among the others whose removal costs most (layer.head).

{without}

## How to read it

- Prefix matching, its nulls, the repeat score and the class of a head are those of [the method](../../method.md), by
  the protocol `quick`: 20 sequences of 50 random tokens, four times each. Square brackets are 95% intervals over
  sequences.
- A choice gain is the mean over documents of choice with examples minus choice without, where choice is the
  log-probability of the right answer among the choices. ± is 1.96 standard errors, by clusters of documents. A model
  *learns* a task if its gain is above 0 by more than that. Without examples a model may be surer of a wrong answer
  than an even guess is, so that a gain can be larger than from an even guess to certainty.
- All models read the same text in the same order; another seed would move the steps at which heads form.

## The recipe

- Data: sentences about a few people and things (20% of the sequences), random blocks that repeat (40%), things with
  labels drawn anew for every sequence (10%), kinds of things with such labels (20%), facts about things that hold over
  the whole corpus (10%). A vocabulary of 334 words, one token each, and a context of 256 tokens.
- Training: {steps:,} steps of 3,072 tokens{longer}; three of four in sequences of 64, one in sequences of 256; tokens
  that can't be known count a tenth. AdamW, learning rate .04 / sqrt(width), 100 steps of warm-up, then falling in a
  straight line to a tenth; weight decay .1; gradients clipped at 1.
- Models: heads of 16 dimensions; one matrix for embedding and unembedding; no dropout. Llama-shaped (`llama-`): rotary
  positions, RMSNorm, a gated FFN twice as wide as the model. GPT-2-shaped (`gpt2-`): learned positions, LayerNorm, an
  FFN four times as wide.
- Seed {seed}; torch {torch}, transformers {transformers}, numpy {numpy}; one thread. Weights are not
  kept here: the first command makes them again.
- Tasks are files beside the models. A study of one model on them:
  `headscope study small-models/{detail}/step-{steps:06d} --data small-models/tasks
  --tasks small_recall,small_kinds,small_facts --shots 0,7`
- The numbers: [models](models.csv), [losses](losses.csv), [heads](heads.csv), [checkpoints](checkpoints.csv),
  [tasks](tasks.csv), [removals](removals.csv).
"""


def page(tables: Tables) -> str:
    """README.md."""
    first = tables.models.iloc[0]
    return TEMPLATE.format(
        models=count(tables.names, "model").capitalize(),
        sentences="\n".join(f"- {sentence}" for sentence in sentences(tables)),
        when=markdown(when(tables)),
        at_the_end=markdown(at_the_end(tables)),
        without=markdown(losses_without(tables)),
        detail=DETAIL,
        longer=longer(tables),
        **{name: first[name] for name in ("steps", "seed", "torch", "transformers", "numpy")},
    )


def longer(tables: Tables) -> str:
    """Which models were trained for more steps than the first."""
    usual = tables.models["steps"].iloc[0]
    parts = [f"{part['steps']:,} for {part['model']}" for _, part in tables.models.iterrows() if part["steps"] != usual]
    return f" ({', '.join(parts)})" if parts else ""


def write_page(folder: Path) -> None:
    """README.md and its pictures beside the tables."""
    import kaleido

    tables = Tables.read(folder)
    (folder / "README.md").write_text(page(tables), encoding="utf-8")
    for name, figure in pictures(tables).items():
        path = str(folder / f"{name}.svg")
        kaleido.write_fig_sync(figure, path=path, opts={"width": WIDTH}, kopts={"mathjax": False})
