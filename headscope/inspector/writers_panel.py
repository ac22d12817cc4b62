"""The panels about the next token: a mosaic of what heads write, the other parts, the logit lens, patching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import torch
from dash import html
from jaxtyping import Float
from torch import Tensor

from headscope.inspector import writers
from headscope.inspector.asked import RemovedParts
from headscope.inspector.bench import Bench
from headscope.inspector.outcome import QUOTES, plain
from headscope.inspector.questions import answering
from headscope.inspector.widgets import field, plot, save, segments, text
from headscope.inspector.writers import Lens, Question
from headscope.report.contents import rounded
from interp.theme import colour, plain_text, styled
from interp.token_display import shown, token_texts

if TYPE_CHECKING:
    from dash import Dash

    from ablation.attribution import DirectAttribution
    from interp.model import HookedModel

WRITTEN = (
    "What each head of the whole model writes straight to the logit, in logits, at the scale that the final norm has "
    "here (Method 3.4). Later layers may react to a head too, which this leaves out. Click a cell to select its head."
)
PATCHED = (
    "What the answer gains, in nats, when this head alone is taken from the prompt above and put into the other prompt "
    "(exact, Method 3.4). Click a cell to select its head."
)
PLACES = (("last", "at the last token"), ("all", "at every token"))


def section(bench: Bench) -> list[html.Section]:
    """Nothing without a model: whatever stands here is asked of it."""
    if bench.model is None:
        return []
    return [
        html.Section([html.H2("What writes the next token"), *asking(), *answers(), *patching()], id="writers-panel")
    ]


def asking() -> list[Any]:
    return [
        html.P(
            [
                field("Answer", text("writers-answer", "the next token", "field short")),
                field("against", text("writers-other", "the mean", "field short")),
                html.Button("Which heads write it?", id="ask-writers", type="button", className="plain strong"),
            ],
            className="filters",
        ),
        html.P(id="writers-problem", className="problem", role="alert"),
    ]


def answers() -> list[Any]:
    return [
        html.Div(
            [
                html.Figure(
                    [
                        html.H3(html.Span(id="writers-title")),
                        plot("mosaic-written", 520),
                        html.Figcaption([html.P(WRITTEN), html.P(id="writers-sum"), save("", "written-by")]),
                    ]
                ),
                html.Figure([html.H3("By layer"), plot("parts", 330), html.Figcaption(save("parts", "parts"))]),
                html.Figure(
                    [
                        html.H3("Logit lens"),
                        plot("lens", 330),
                        html.Figcaption([html.P(id="lens-note"), save("lens", "lens")]),
                    ]
                ),
            ],
            id="writers",
            className="outcome",
            hidden=True,
        )
    ]


def patching() -> list[Any]:
    return [
        html.H3("Heads of this prompt in another one"),
        html.P(
            [
                html.Label(
                    [
                        "Other prompt ",
                        text("patch-corrupt", "the same, but for what the answer depends on", "field wide"),
                    ]
                ),
                segments("patch-at", "Where it is patched", PLACES),
                html.Button("Patch every head", id="ask-patch", type="button", className="plain strong"),
            ],
            className="filters",
        ),
        html.P(id="patch-problem", className="problem", role="alert"),
        html.Div(
            html.Figure(
                [
                    html.H3(html.Span(id="patch-title")),
                    plot("mosaic-patch", 520),
                    html.Figcaption([html.P(PATCHED), html.P(id="patch-note"), save("", "patched")]),
                ]
            ),
            id="patch",
            className="outcome",
            hidden=True,
        ),
    ]


def register(app: Dash, bench: Bench) -> None:
    if bench.model is None:
        return

    answering(app, bench, "writers-asked", "writers", writers_parts)
    answering(app, bench, "patch-asked", "patch", patch_parts)


def writers_parts(bench: Bench, asked: Mapping[str, Any]) -> dict[str, Any]:
    found = writers.question(bench, asked)
    made = writers.direct(bench, found)
    whole = writers.lens(bench, found, RemovedParts())
    left = writers.lens(bench, found, found.removed) if found.removed else None
    title = f"What each head writes to {in_words(bench.live, found)}"
    return {
        "title": title,
        "mosaic": entry(title, made.heads[-1], WRITTEN),
        "parts": parts_figure(made).to_plotly_json(),
        "sum": " ".join([sum_of(made), *hints(bench, asked)]),
        "lens": lens_figure(bench.live, whole, left).to_plotly_json(),
        "lens_note": lens_note(bench.live, found, whole),
    }


def patch_parts(bench: Bench, asked: Mapping[str, Any]) -> dict[str, Any]:
    found = writers.question(bench, asked)
    made = writers.patched(bench, found, asked.get("corrupt"), str(asked.get("at") or "last"))
    title = f"What each head adds to {in_words(bench.live, found)} in the other prompt"
    outcome = made.variant.partition("/")[2].replace("_", " ")
    note = f"{outcome[:1].upper()}{outcome[1:]}: {plain(made.clean)} here, {plain(made.corrupt)} in the other prompt."
    return {"title": title, "mosaic": entry(title, made.mean, PATCHED), "note": " ".join([note, *hints(bench, asked)])}


def hints(bench: Bench, asked: Mapping[str, Any]) -> list[str]:
    """A word within a text mostly has its space in front, as a token of its own."""
    return [
        f"{QUOTES[0]}{typed}{QUOTES[1]} is the token without a space in front; write one for "
        f"{QUOTES[0]} {typed}{QUOTES[1]}."
        for typed in writers.unspaced(bench, asked)
    ]


def in_words(model: HookedModel, asked: Question) -> str:
    """The answer, and what it stands against."""
    tokens = [asked.answer] if asked.other is None else [asked.answer, asked.other]
    return " against ".join(quoted_token(model, token) for token in tokens)


def entry(label: str, values: Float[Tensor, "layer head"], meaning: str) -> dict[str, Any]:
    """A score as the page's mosaic reads it, without intervals."""
    none: dict[str, list[float]] = {name: [] for name in ("low", "high", "null", "p", "family")}
    mean = rounded(values.double().cpu().numpy())
    return {"id": label, "label": label, "task": "", "meaning": meaning, "signed": True, "n": 1, "mean": mean, **none}


def parts(made: DirectAttribution) -> dict[str, list[float]]:
    """By layer: all heads, the FFN, and what layers without heads write; at the token that is asked about."""
    found = {
        "heads": made.heads[-1].nansum(-1),
        "FFN": made.ffns[-1].nan_to_num(),
        "mixer": made.mixers[-1].nan_to_num(),
    }
    return {name: value.tolist() for name, value in found.items() if name != "mixer" or value.abs().max() > 0}


def sum_of(made: DirectAttribution) -> str:
    """The other parts, and that all of them add up to what the model says."""
    bias = float(made.attention_bias[-1].nansum() + made.bias[-1])
    against = "the mean of all tokens" if made.other is None else "the other token"
    name = "logit before the soft-cap" if made.softcapped else "logit"
    mixers = float(made.mixers[-1].nansum())
    others = f", other layers {plain(mixers)}" if mixers else ""
    return (
        f"Heads {plain(float(made.heads[-1].nansum()))}, FFNs {plain(float(made.ffns[-1].nansum()))}, embedding "
        f"{plain(float(made.embedding[-1]))}, biases {plain(bias)}{others}: together "
        f"{plain(float(made.total[-1]))}; the model's own "
        f"{name} of the answer less that of {against} is {plain(float(made.logit_difference[-1]))}."
    )


def parts_figure(made: DirectAttribution) -> go.Figure:
    roles = {"heads": "blue", "FFN": "vermilion", "mixer": "grey"}
    traces = [
        go.Bar(
            x=list(range(len(values))),
            y=[round(value, 4) for value in values],
            name=name,
            marker={"color": colour(roles[name])},
        )
        for name, values in parts(made).items()
    ]
    figure = styled(traces, x="layer", y="logits", height=330, showlegend=True)
    figure.update_layout(margin={"l": 48, "r": 8, "t": 12, "b": 64}, dragmode=False)
    return layers_axis(figure, made.heads.shape[1])


def layers_axis(figure: go.Figure, layers: int) -> go.Figure:
    """Layers that there are, and no tick beyond them."""
    step = max(1, -(-layers // 10))
    figure.update_xaxes(
        showgrid=False, range=[-0.6, layers - 0.4], tickmode="array", tickvals=list(range(0, layers, step))
    )
    return figure


def lens_figure(model: HookedModel, whole: Lens, left: Lens | None) -> go.Figure:
    """log p of the answer after each layer; hovering tells the likeliest token."""
    traces = []
    for made, name, role in ((whole, "whole model", "blue"), (left, "after removal", "vermilion")):
        if made is None:
            continue
        best = token_texts(model.tokenizer, list(made.best))
        told = [
            f"rank {rank:,}; likeliest {plain_text(shown(text))}" for rank, text in zip(made.ranks, best, strict=True)
        ]
        hover = "layer %{x}: log p %{y:.2f}<br>%{text}<extra>" + name + "</extra>"
        line = {"color": colour(role), "width": 1.5}
        values = made.log_p.double().numpy().round(4)
        traces.append(
            go.Scatter(
                x=list(range(len(told))),
                y=values,
                text=told,
                name=name,
                mode="lines+markers",
                line=line,
                hovertemplate=hover,
            )
        )
    figure = styled(traces, x="layer", y="log p of the answer", height=330, showlegend=True)
    figure.update_layout(margin={"l": 48, "r": 8, "t": 12, "b": 64}, dragmode=False)
    return layers_axis(figure, len(whole.ranks))


def lens_note(model: HookedModel, asked: Question, whole: Lens) -> str:
    """From where on the answer is the likeliest token."""
    answer, last = (quoted_token(model, token) for token in (asked.answer, whole.best[-1]))
    layers = range(len(whole.ranks))
    first = next((at for at in layers if set(whole.ranks[at:]) == {1}), None)
    end = f"at the end the model says {last}" if first is None else f"the likeliest token from layer {first} on"
    return f"Each layer's stream read by the final norm and the unembedding. {answer}: {end}."


def quoted_token(model: HookedModel, token: int) -> str:
    return f"{QUOTES[0]}{shown(token_texts(model.tokenizer, [token])[0])}{QUOTES[1]}"


def lens_rows(model: HookedModel, made: Lens) -> list[list[Any]]:
    best = token_texts(model.tokenizer, list(made.best))
    values = torch.as_tensor(made.log_p).tolist()
    return [
        [layer, f"{value:.6f}", rank, token]
        for layer, (value, rank, token) in enumerate(zip(values, made.ranks, best, strict=True))
    ]
