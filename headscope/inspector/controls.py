"""What a person sets: the prompt, what is removed, which window is drawn."""

from __future__ import annotations

from dash import dcc, html

from headscope.inspector import writing_on
from headscope.inspector.bench import Bench
from headscope.inspector.outcome import outcome_panels
from headscope.inspector.widgets import field, segments, text, tick, whole

KINDS = (("repeated", "Random repeated"), ("task", "Task document"), ("text", "Own text"), ("stored", "Stored"))


def prompt_bar(bench: Bench) -> html.Section:
    """The kind of prompt, its fields, and what was read."""
    live = bench.model is not None
    kinds = [kind for kind in KINDS if (kind[0] != "stored" if live else kind[0] == "stored" and bench.lookable)]
    fields = [repeated_fields(), task_fields(bench), text_fields()] if live else []
    off = [] if live else [html.P(why_off(bench), className="note", id="why-off")]
    go = [html.Button("Read", id="read", type="button", className="plain strong")] if live else []
    return html.Section(
        [
            html.Div(
                [
                    html.Span("Prompt", className="label"),
                    segments("prompt", "Kind of prompt", kinds),
                    *fields,
                    *go,
                    html.P(id="prompt-name", className="note"),
                ],
                className="filters",
            ),
            *off,
            html.P(id="prompt-problem", className="problem", role="alert"),
        ],
        id="prompt-panel",
    )


def why_off(bench: Bench) -> str:
    what = "Other prompts" if bench.lookable else "Prompts"
    return f"{what} and removals need the model: {bench.why}"


def repeated_fields() -> html.Span:
    return html.Span(
        [
            field("Block", whole("repeated-length", 12)),
            field("Repeats", whole("repeated-repeats", 4, 2)),
            field("Seed", whole("repeated-seed", 0)),
        ],
        className="fields",
        **{"data-fields": "repeated"},
    )


def task_fields(bench: Bench) -> html.Span:
    options = [
        html.Optgroup([html.Option(name, value=name) for name in names], label=group) for group, names in tasks()
    ]
    return html.Span(
        [
            field("Task", html.Select(options, id="task-name")),
            field("Shots", whole("task-shots", 2, 2)),
            field("Document", whole("task-document", 0)),
        ],
        className="fields",
        **{"data-fields": "task"},
    )


def tasks() -> list[tuple[str, tuple[str, ...]]]:
    from ablation.tasks.names import ICL14, PROBES

    return [("Built-in probes", PROBES), ("The 14 tasks", ICL14)]


def text_fields() -> html.Span:
    box = dcc.Textarea(
        id="own-text", value="", rows=2, spellCheck=False, placeholder="A text to read. Ctrl+Enter reads it."
    )
    return html.Span(html.Label(["Text ", box], className="grow"), className="fields grow", **{"data-fields": "text"})


def window_choice() -> html.P:
    """Which part of a long prompt the heat map shows; scripts fill the choices."""
    return html.P(
        [
            html.Label(["Queries ", html.Select(id="window-queries")]),
            html.Label(["Keys ", html.Select(id="window-keys")]),
        ],
        className="filters",
    )


def vis_choice() -> html.Div:
    kinds = (("off", "Off"), ("head", "Selected head"), ("layer", "Its whole layer"))
    return html.Div(
        [
            segments("vis", "Draw with CircuitsVis", kinds),
            html.Label(["Tokens ", html.Select(id="vis-window")], id="vis-window-label", hidden=True),
        ],
        className="filters",
    )


def removal_panel(bench: Bench) -> html.Section:
    """What is removed, and what changes."""
    if bench.model is None:
        return html.Section(
            [
                html.H2("Removing heads and FFNs"),
                html.P(f"This needs the model, which is not loaded: {bench.why}", className="note"),
            ],
            id="removal-panel",
        )
    return html.Section(
        [
            html.H2("Removing heads and FFNs"),
            removal_controls(),
            html.P(id="removal-problem", className="problem", role="alert"),  # of what was typed
            html.P(id="outcome-problem", className="problem", role="alert"),
            outcome_panels(),
            writing_on.panel(),
        ],
        id="removal-panel",
    )


def removal_controls() -> html.Div:
    ablations = (("zero", "by zero"), ("mean", "by the mean"))
    return html.Div(
        [
            html.Div(
                [
                    html.Span(
                        [
                            field("Heads", text("heads-list", "18.7, 17.*, 3.0-2", "field")),
                            field("FFNs", text("ffns-list", "0-3", "field short")),
                            html.Button("Set", id="set-list", type="button", className="plain strong"),
                        ],
                        className="fields",
                    ),
                    html.Span(
                        [
                            field("Top", whole("top-k", 5, 2)),
                            html.Button("of the left mosaic", id="top-a", type="button", className="plain"),
                            html.Button("of the right mosaic", id="top-b", type="button", className="plain"),
                        ],
                        className="fields",
                    ),
                    html.Span(
                        [
                            field("Named set", html.Select(id="named-set")),
                            text("set-name", "a name", "field short"),
                            html.Button("Keep", id="keep-set", type="button", className="plain"),
                        ],
                        className="fields",
                    ),
                    tick("picking", "clicking a cell removes its head"),
                ],
                className="filters",
            ),
            html.Div(
                [
                    html.Span("Replaced", className="label"),
                    segments("ablation", "What replaces them", ablations),
                    html.Div(id="removed", className="chips", role="status"),
                    html.Span(className="grow"),
                    html.Button("Undo", id="undo", type="button", className="plain", disabled=True),
                    html.Button("Restore all", id="restore", type="button", className="plain", disabled=True),
                ],
                className="filters",
            ),
        ],
        className="removal-controls",
    )
