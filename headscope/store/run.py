"""The run directory: everything that was measured on one model, as files.

`open_run(DIR)` reads; `begin_stage` (writer.py) gives a writer. Nothing is computed here.

| file | what |
|---|---|
| manifest.json | the model's identity and the stages (store/manifest.py) |
| head_scores, ffn_scores, head_nulls, ffn_nulls, metrics, comparisons, classes `.parquet` | store/tables.py |
| items/ | scores by sequence and document, the attention example |
| vectors/ | function vectors, one a function |
| units/ | finished work units (store/units.py) |
| report.html | the page (headscope.report) |
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from ablation.tasks.own_files import written
from headscope.store import tables
from headscope.store.atomic import check_writable
from headscope.store.attention_example import FILE, AttentionExample, decode_example
from headscope.store.items import SETS, read_items
from headscope.store.manifest import Manifest, Stage, read_manifest
from headscope.store.scores import label, labels, restore, rows_of
from headscope.store.sealed import NOT_THERE, read_sealed
from interp.embedded import EMBEDDED
from interp.errors import StoreError, UsageError, quoted
from interp.scores import FFNScores, HeadScores

if TYPE_CHECKING:
    import plotly.graph_objects as go

ITEMS, VECTORS = "items", "vectors"
EXAMPLE = f"{ITEMS}/{FILE}"
TABLE_FILES = tuple(table.file for table in tables.TABLES)


MODEL = "MODEL"  # in a command, where nobody knows how the model was named


def command_into(folder: Path, name: str, *options: str, model: str = MODEL) -> str:
    """A command that writes into a folder, as a shell takes it."""
    return shlex.join(["headscope", name, model, *options, "-o", str(folder)])


@dataclass(frozen=True)
class Run:
    """A run directory, read anew at every access; frames are copies and may be changed freely."""

    folder: Path

    @property
    def manifest(self) -> Manifest:
        stored = read_manifest(self.folder)
        if stored is None:
            raise StoreError(
                f"the folder '{self.folder}' holds no manifest.json, so it is no run directory. Make one first, with "
                f"`headscope induction -o {shlex.quote(str(self.folder))}`."
            )
        return stored

    @property
    def identity(self) -> Mapping[str, Any]:
        """What model the numbers belong to."""
        return self.manifest.identity

    @property
    def typed_model(self) -> str:
        """The model as a person types it; MODEL where the run knows a folder's name alone."""
        source = str(self.identity.get("source", ""))
        return source if source in EMBEDDED or self.identity.get("revision") else MODEL

    def command(self, name: str, *options: str, task: str = "") -> str:
        """A command that adds to this run, as a shell takes it; of a task, as it was typed."""
        asked = ("--tasks", written(task), *options) if task else options
        return command_into(self.folder, name, *asked, model=self.typed_model)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.manifest.stages

    @property
    def head_scores(self) -> pd.DataFrame:
        """One row a head and score."""
        return tables.HEAD_SCORES.read(self.folder)

    @property
    def ffn_scores(self) -> pd.DataFrame:
        """One row an FFN and score."""
        return tables.FFN_SCORES.read(self.folder)

    @property
    def head_nulls(self) -> pd.DataFrame:
        """One row a head, score and null (Method 2.7); `head_scores` holds the largest p of these."""
        return tables.HEAD_NULLS.read(self.folder)

    @property
    def ffn_nulls(self) -> pd.DataFrame:
        return tables.FFN_NULLS.read(self.folder)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row an evaluation of a pruned model."""
        return tables.METRICS.read(self.folder)

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row a comparison of two rankings; the kinds are listed in store/tables.py."""
        from headscope.store.comparisons import Kind

        rows, kinds = tables.COMPARISONS.read(self.folder), frozenset(Kind)
        for kind, level in sorted(set(zip(rows["kind"], rows["level"], strict=True))):
            if kind in kinds:  # others are of another version, and nothing asks for them
                self._refuse_other_grammar(kind, level)
        return rows

    @property
    def classes(self) -> pd.DataFrame:
        """One row a head: its class, empty for heads that are no induction heads (Method 2.8)."""
        return tables.CLASSES.read(self.folder)

    @property
    def attention_example(self) -> AttentionExample | None:
        """Every head's attention on one sequence, if it was stored."""
        return decode_example(read_sealed(self.folder, EXAMPLE), self.folder / EXAMPLE)

    @property
    def item_names(self) -> list[str]:
        """What `items` can be asked for: what is there, and what the manifest says is there."""
        return sorted(Path(name).stem for name in {*item_files(self.folder), *self._named} if name.endswith(".parquet"))

    def items(self, name: str, *, needs: Sequence[str] = ()) -> pd.DataFrame:
        """One row an item (sequence or document), one column a component (`18.6`, or `18` for an FFN).

        needs: further columns that have to be there. Raises StoreError for columns, types or values of something else.
        """
        if name not in self.item_names:
            raise UsageError(
                f"the run '{self.folder}' holds no items {name!r}; it holds {', '.join(self.item_names) or 'none'}"
            )
        file = item_file(name)
        content = read_sealed(self.folder, file)
        if content is None:
            raise StoreError(f"'{self.folder / file}' is gone while it was read")
        return read_items(content, self.folder / file, name, needs=needs)

    def vector_path(self, function: str) -> Path:
        """Where the vector of a function stands, for `FunctionVector.load`; there may be none.

        Raises StoreError for a file that is not what was written.
        """
        read_sealed(self.folder, vector_file(function))
        return self.folder / vector_file(function)

    def head_score(self, name: str, variant: str = "", *, task: str = "", shots: int = 0) -> HeadScores:
        """A stored head score as it was, with its nulls and items. Raises UsageError where it is not stored."""
        score: HeadScores = self._restored("head", (name, variant, task, shots))
        return score

    def ffn_score(self, name: str, variant: str = "", *, task: str = "", shots: int = 0) -> FFNScores:
        """A stored FFN score as it was, with its nulls and items. Raises UsageError where it is not stored."""
        score: FFNScores = self._restored("ffn", (name, variant, task, shots))
        return score

    def figure(self, name: str, **options: Any) -> go.Figure:
        """A figure of the paper from what is stored; `headscope.figures.NAMES` lists them.

        Raises UsageError for an unknown name, and for a figure whose data the run does not have, naming the command.
        """
        from headscope.figures import draw

        return draw(self, name, **options)

    def _refuse_other_grammar(self, kind: str, level: str) -> None:
        from headscope.store.comparisons import level_of

        try:
            level_of(kind, level)
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"comparisons.parquet in '{self.folder}' holds {kind} at the level {quoted(level)}, which is none of "
                "that kind: it was written by another program. Choose another folder."
            ) from error

    @property
    def _named(self) -> set[str]:
        """The items that the manifest names, but for those that were never put."""
        manifest = read_manifest(self.folder)
        states = {} if manifest is None or manifest.files is None else manifest.files
        return {name for name, allowed in states.items() if name.startswith(f"{ITEMS}/") and NOT_THERE not in allowed}

    def _restored(self, component: str, key: tuple[str, str, str, int]) -> Any:
        name = f"{component}-{label(*key)}"
        frame, nulls = getattr(self, f"{component}_scores"), getattr(self, f"{component}_nulls")
        rows = rows_of(frame, key)
        if rows.empty:
            raise UsageError(
                f"the run '{self.folder}' holds no score {label(*key)!r}; it holds {', '.join(labels(frame)) or 'none'}"
            )
        recorded = [stage.record.get("scores", {}).get(name) for stage in self.stages]
        items = self.items(name) if name in self.item_names else None
        return restore(
            rows, rows_of(nulls, key), items, next((provenance for provenance in recorded if provenance), {})
        )


def item_file(name: str) -> str:
    """Where items of this name stand in a run directory."""
    return f"{ITEMS}/{name}.parquet"


def vector_file(function: str) -> str:
    """Where the vector of a function stands in a run directory."""
    return f"{VECTORS}/{quote(function, safe='')}.safetensors"


def item_files(folder: Path) -> list[str]:
    """The files under items/ and vectors/, but for temporary ones."""
    found = [path for part in (ITEMS, VECTORS) for path in (folder / part).glob("*")]
    kept = [path for path in found if path.suffix in (".parquet", ".safetensors") and not path.name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in kept)


def open_run(folder: str | Path) -> Run:
    """A run directory that is there. Raises StoreError where it is not one, or in another version's format."""
    run = Run(Path(folder))
    run.manifest  # noqa: B018  (reading it is the check)
    return run


def open_whole_run(folder: str | Path) -> Run:
    """`open_run`, with everything in it read once: for a page that is served as long as somebody looks at it.

    Raises StoreError for the first file that is damaged, lost or none of headscope's.
    """
    run = open_run(folder)
    for table in tables.TABLES:
        getattr(run, table.name)
    for file in item_files(run.folder):
        read_sealed(run.folder, file)
    for name in SETS.keys() & run.item_names:  # a figure shows these; scores by item are read by nothing that looks
        run.items(name)
    run.attention_example  # noqa: B018  (reading it is the check)
    return run


def check_output_folder(folder: str | Path, stage: Stage | None = None) -> None:
    """Refuse an output folder before a model is loaded: not writable, another format, another protocol (StoreError).

    Nothing is made: a model that is refused afterwards leaves no folder behind.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    if manifest is not None and stage is not None:
        manifest.with_stage(stage, path)
    check_writable(path)
