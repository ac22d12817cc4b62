"""Views as tables in CSV. Pictures are made by the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Input, State, no_update

from headscope.inspector import circuit_tables as tables
from headscope.inspector import many_prompts, writers, writers_panel, writing_on
from headscope.inspector.asked import RemovedParts, asked_head, asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.reading import asked_query, seen
from headscope.inspector.removal import loss_changes, next_tokens
from headscope.inspector.score_table import VALUES, key_of
from headscope.inspector.stored_figures import chosen_panel
from headscope.inspector.widgets import outputs
from headscope.report.csv_text import Row, text_of
from interp.errors import HeadscopeError, UsageError
from interp.view import WINDOW

if TYPE_CHECKING:
    from dash import Dash


def register(app: Dash, bench: Bench) -> None:
    names = (
        "reading",
        "removal",
        "query",
        "after",
        "vis",
        "stored-choice",
        "write-asked",
        "writers-asked",
        "patch-asked",
        "average-asked",
        "tab",
    )

    @app.callback(
        *outputs("download.data", "download-problem.children"),
        Input("csv", "data"),
        *(State(name, "data") for name in names),
        prevent_initial_call=True,
    )
    def download(asked: Any, *values: Any) -> list[Any]:
        request = asked if isinstance(asked, dict) else {}
        state = {**dict(zip(names, values, strict=True)), "head": request.get("head")}
        what = request.get("what")
        if not isinstance(what, str) or what not in FILES:
            return [no_update, no_update]
        try:
            with bench.work.of(state["tab"]):
                content = FILES[what](bench, state)
        except HeadscopeError as error:
            return [no_update, str(error)]
        return [{"content": content, "filename": f"{file_name(bench, what, state)}.csv", "type": "text/csv"}, ""]


def file_name(bench: Bench, what: str, state: dict[str, Any]) -> str:
    """What a file holds, of which head, before or after removal."""
    parts = [what]
    if what in ("head", "attention", "pairs", "copies", "window"):
        layer, head = head_of(bench, state)
        whole = what == "window" and (state["vis"] or {}).get("kind") == "layer"
        parts.append(f"{layer}" if whole else f"{layer}.{head}")
    if what in ("attention", "pairs", "window") and state["after"]:
        parts.append("after")
    if what == "stored" and (chosen := chosen_panel(bench, state["stored-choice"])):
        parts += [chosen[0], str(chosen[1])]
    return "-".join(parts)


def head_of(bench: Bench, state: dict[str, Any]) -> tuple[int, int]:
    return asked_head(state["head"], bench.scores.layers, bench.scores.heads)


def head_csv(bench: Bench, state: dict[str, Any]) -> str:
    head = head_of(bench, state)
    place = bench.scores.place(head)
    rows = [
        [
            *head,
            *key_of(str(entry["id"])),
            *(entry[name][place] if entry[name] else None for name in VALUES),
            entry["n"],
        ]
        for entry in bench.scores.entries
    ]
    return text_of(["layer", "head", "score", "variant", "task", "shots", *VALUES, "n"], rows)


def read_back(state: dict[str, Any]) -> dict[str, Any]:
    if not state["reading"]:
        raise UsageError("No prompt has been read yet.")
    return dict(state["reading"])


def removed_of(bench: Bench, removal: Any) -> str:
    return asked_removal(removal, bench.scores.layers, bench.scores.heads).in_words


PLACES = ("layer", "head", "removed", "query", "query_token", "key", "key_token", "attention")


def attention_csv(bench: Bench, state: dict[str, Any]) -> str:
    attention, head = seen(bench, read_back(state), state["after"]), head_of(bench, state)
    pattern, texts, removed = attention.pattern(*head), attention.tokens.texts, removed_of(bench, state["after"])
    rows = (
        [*head, removed, q, texts[q], k, texts[k], f"{pattern[q, k]:.6f}"]
        for q in range(len(texts))
        for k in range(q + 1)
    )
    return text_of(PLACES, rows)


def window_csv(bench: Bench, state: dict[str, Any]) -> str:
    attention = seen(bench, read_back(state), state["after"])
    layer, head = head_of(bench, state)
    vis, texts = state["vis"] or {}, attention.tokens.texts
    start = min(whole(vis.get("start", 0), "window", 0, 1 << 20), len(texts) - 1)
    stop = min(len(texts), start + WINDOW)
    patterns, removed = attention.window(layer, start, stop), removed_of(bench, state["after"])
    heads = [head] if vis.get("kind") == "head" else range(len(patterns))
    rows = (
        [layer, h, removed, q, texts[q], k, texts[k], f"{patterns[h, q - start, k - start]:.6f}"]
        for h in heads
        for q in range(start, stop)
        for k in range(start, q + 1)
    )
    return text_of(PLACES, rows)


def pairs_csv(bench: Bench, state: dict[str, Any]) -> str:
    attention, head = seen(bench, read_back(state), state["after"]), head_of(bench, state)
    texts, removed = attention.tokens.texts, removed_of(bench, state["after"])
    pairs = tables.strongest_pairs(attention.pattern(*head), 200)
    rows = (
        [*head, removed, pair.query, texts[pair.query], pair.key, texts[pair.key], f"{pair.attention:.6f}"]
        for pair in pairs
    )
    return text_of(PLACES, rows)


def copies_csv(bench: Bench, state: dict[str, Any]) -> str:
    head = head_of(bench, state)
    copies = bench.copies(*head)
    rows = ([*head, copy.token, f"{copy.deviations:.4f}", copy.rank, copy.most] for copy in copies.copies)
    return text_of(["layer", "head", "token", "standard_deviations", "rank", "raises_most"], rows)


def passes(bench: Bench, state: dict[str, Any]) -> tuple[Any, Any, RemovedParts]:
    prompt = asked_prompt(read_back(state).get("prompt"))
    removed = asked_removal(state["removal"], bench.live.n_layers, bench.live.n_heads)
    return bench.read(prompt), bench.read(prompt, removed), removed


def loss_csv(bench: Bench, state: dict[str, Any]) -> str:
    before, after, removed = passes(bench, state)
    both = zip(before.predicted.losses.tolist(), after.predicted.losses.tolist(), strict=True)
    texts = before.tokens.texts
    rows = ([removed.in_words, at, texts[at], f"{a:.6f}", f"{b:.6f}"] for at, (a, b) in enumerate(both, start=1))
    return text_of(["removed", "position", "token", "loss_before", "loss_after"], rows)


def learning_csv(bench: Bench, state: dict[str, Any]) -> str:
    """The in-context-learning score and the mean losses of the prompt's parts."""
    before, after, removed = passes(bench, state)
    scores = [bench.repeat_score(removal) for removal in (RemovedParts(), removed)]
    rows: list[Row] = [
        [removed.in_words, "in-context-learning score", "random repeated sequences", *map(precise, scores)]
    ]
    rows += [
        [removed.in_words, "mean loss", change.part, precise(change.before), precise(change.after)]
        for change in loss_changes(before, after)
    ]
    return text_of(["removed", "measure", "part", "before", "after"], rows)


def precise(value: float) -> str:
    return f"{value:.6f}"


def next_csv(bench: Bench, state: dict[str, Any]) -> str:
    before, after, removed = passes(bench, state)
    position = asked_query(state["query"], len(before.tokens.ids))
    rows = [
        [removed.in_words, name, position, rank, token.token, f"{token.p:.6f}"]
        for name, here, other in (("before", before, after), ("after", after, before))
        for rank, token in enumerate(next_tokens(bench.live, here.predicted, other.predicted, position), start=1)
    ]
    return text_of(["removed", "pass", "position", "rank", "token", "p"], rows)


def stored_csv(bench: Bench, state: dict[str, Any]) -> str:
    """The numbers of every trace of the figure."""
    chosen = chosen_panel(bench, state["stored-choice"])
    if chosen is None:
        raise UsageError("The run has no figures beside the mosaic.")
    traces = chosen[2][chosen[1]].draw().data
    rows: list[Row] = []
    for trace in traces:
        if trace.type == "heatmap":
            xs, ys = (list(axis) if axis is not None else range(len(trace.z)) for axis in (trace.x, trace.y))
            rows += [[trace.name, x, y, trace.z[j][i]] for j, y in enumerate(ys) for i, x in enumerate(xs)]
        elif trace.x is not None and trace.y is not None:
            rows += [[trace.name, x, y, ""] for x, y in zip(trace.x, trace.y, strict=False)]
    return text_of(["trace", "x", "y", "value"], rows)


def written_csv(bench: Bench, state: dict[str, Any]) -> str:
    """What the model writes on, whole and after removal; the number of tokens is the one that was asked for last."""
    asked = state["write-asked"] or {}
    if not asked:
        raise UsageError("Nothing has been written on yet.")
    removed = removed_of(bench, asked.get("removal"))
    position, made = writing_on.both(bench, asked)
    rows = (
        [removed, name, position + at, token, text]
        for name, one in zip(("before", "after"), made, strict=False)
        for at, (token, text) in enumerate(zip(one.ids, one.texts, strict=True), start=1)
    )
    return text_of(["removed", "pass", "position", "token_id", "token"], rows)


def question_of(bench: Bench, state: dict[str, Any], name: str) -> tuple[writers.Question, dict[str, Any]]:
    """What was asked last about the next token."""
    asked = state[name] or {}
    if not asked:
        raise UsageError("Nothing has been asked about the next token yet.")
    return writers.question(bench, asked), asked


def mosaic_rows(values: Any) -> list[Row]:
    return [
        [layer, head, precise(value)] for layer, row in enumerate(values.tolist()) for head, value in enumerate(row)
    ]


def written_by_csv(bench: Bench, state: dict[str, Any]) -> str:
    found, _ = question_of(bench, state, "writers-asked")
    return text_of(["layer", "head", "logits"], mosaic_rows(writers.direct(bench, found).heads[-1]))


def parts_csv(bench: Bench, state: dict[str, Any]) -> str:
    found, _ = question_of(bench, state, "writers-asked")
    made = writers.direct(bench, found)
    rows: list[Row] = [
        [name, layer, precise(value)]
        for name, values in writers_panel.parts(made).items()
        for layer, value in enumerate(values)
    ]
    rows += [["embedding", None, precise(float(made.embedding[-1]))], ["biases", None, precise(float(made.bias[-1]))]]
    rows += [
        ["attention biases", layer, precise(value)] for layer, value in enumerate(made.attention_bias[-1].tolist())
    ]
    return text_of(["part", "layer", "logits"], rows)


def lens_csv(bench: Bench, state: dict[str, Any]) -> str:
    found, _ = question_of(bench, state, "writers-asked")
    passes = [("before", RemovedParts()), *([("after", found.removed)] if found.removed else [])]
    rows = [
        [found.removed.in_words, name, *row]
        for name, removed in passes
        for row in writers_panel.lens_rows(bench.live, writers.lens(bench, found, removed))
    ]
    return text_of(["removed", "pass", "layer", "log_p", "rank", "likeliest"], rows)


def patched_csv(bench: Bench, state: dict[str, Any]) -> str:
    found, asked = question_of(bench, state, "patch-asked")
    made = writers.patched(bench, found, asked.get("corrupt"), str(asked.get("at") or "last"))
    return text_of(["layer", "head", "nats"], mosaic_rows(made.mean))


def average_csv(bench: Bench, state: dict[str, Any]) -> str:
    """The shares of every head over the prompts that were averaged last."""
    asked = state["average-asked"] or {}
    if not asked:
        raise UsageError("Nothing has been averaged yet.")
    made, removed = many_prompts.averages(bench, asked), removed_of(bench, asked.get("removal"))
    first = many_prompts.asked_prompts(asked)[0]
    of = [first.task, first.shots] if first.kind == "task" else [None, None]
    rows = (
        [*of, len(made.prompts), removed, layer, head, kind, precise(share), int(made.queries[kind][layer])]
        for kind, shares in made.shares.items()
        for layer, row in enumerate(shares.tolist())
        for head, share in enumerate(row)
    )
    names = ["task", "shots", "prompts", "removed", "layer", "head", "attention_to", "share", "queries"]
    return text_of(names, rows)


FILES: dict[str, Any] = {
    "scores": lambda bench, state: bench.scores.csv(),
    "head": head_csv,
    "attention": attention_csv,
    "window": window_csv,
    "pairs": pairs_csv,
    "copies": copies_csv,
    "loss": loss_csv,
    "next": next_csv,
    "learning": learning_csv,
    "stored": stored_csv,
    "written": written_csv,
    "written-by": written_by_csv,
    "parts": parts_csv,
    "lens": lens_csv,
    "patched": patched_csv,
    "average": average_csv,
}
