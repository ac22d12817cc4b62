"""Writing into a run directory: rows merged by key, each file whole or not there, one writer of a file at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped, UInt8
from torch import Tensor

from headscope.store import tables
from headscope.store.atomic import make_writable, remove_empty, remove_stale
from headscope.store.attention_example import LEVELS, AttentionExample
from headscope.store.canonical import noted
from headscope.store.items import encoded
from headscope.store.manifest import FILE, SOURCES, Manifest, Stage, check_identity, read_manifest
from headscope.store.parquet import encode
from headscope.store.run import EXAMPLE, TABLE_FILES, Run, item_file, item_files, vector_file
from headscope.store.scores import item_frame, label, null_rows, score_rows, tables_of
from headscope.store.sealed import adopted, put_sealed, settled
from headscope.store.units import UnitStore
from induction.prefix_matching import IN_REACH
from interp.errors import HeadscopeError, StoreError, UsageError
from interp.scores import FFNScores, HeadScores

if TYPE_CHECKING:
    from interp.model import HookedModel

Stale = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
PARTS = ("items", "units", "vectors")
LOCK_SECONDS = 120.0
ITEM_NAME = re.compile(r"[\w%@=+][\w.%@=+-]*", re.ASCII)


@dataclass(frozen=True)
class RunWriter(Run):
    """One stage's hand on a run directory. As a context it marks the stage finished when it ends without an error."""

    stage: Stage
    units: UnitStore
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # kind -> layers that have such components
    began: tuple[Manifest, int] | None = None  # the manifest with this stage, where it is new, and how many units

    def add_scores(
        self,
        scores: HeadScores | FFNScores,
        *,
        task: str = "",
        shots: int = 0,
        item_columns: Mapping[str, Sequence[Any]] | None = None,
        some: bool = False,
    ) -> None:
        """Store a score: its rows, nulls, items (with further columns, such as length or cluster) and provenance.

        some: it was asked for some components alone, and the others are NaN; otherwise NaN is refused beside numbers of
        the same layer, if the writer knows the model.
        """
        provenance = noted(dict(scores.provenance))  # What can't be noted is refused before anything is written.
        kind = "head" if isinstance(scores, HeadScores) else "ffn"
        name = f"{kind}-{label(scores.name, scores.variant, task, shots)}"
        if not some:
            self._refuse_broken(scores, name, kind)
        table, nulls = tables_of(scores)
        rows, drawn = (build(scores, task=task, shots=shots) for build in (score_rows, null_rows))
        items = item_frame(scores, item_columns or {})
        with _locked(self.folder):
            stored, stored_nulls = (it.read(self.folder, rewriting=True) for it in (table, nulls))
            _refuse_other_shape(stored, rows, folder=self.folder)
            files = {} if items is None else {item_file(name): encoded(items, name)}
            if len(drawn) or len(stored_nulls):
                files[nulls.file] = encode(nulls.merged(stored_nulls, drawn, replacing=rows))
            put_sealed(self.folder, {**files, table.file: encode(table.merged(stored, rows))})
        self._update(lambda stage: _with_provenance(stage, name, provenance))

    def add_metrics(self, rows: pd.DataFrame, *, alone: bool = False) -> pd.DataFrame:
        """Store evaluations of pruned models, in the columns of `metrics.parquet`; the stored rows that had to go.

        alone: all stored rows of the same orders of the same tasks go, at whatever steps: they are by another ranking.
        """
        with _locked(self.folder):
            stored = tables.METRICS.read(self.folder, rewriting=True)
            gone = tables.of_orders(stored, rows) if alone else stored.head(0)
            replacing = pd.concat([gone, rows[stored.columns]], ignore_index=True) if len(gone) else rows
            self._merge(tables.METRICS, rows, stored=stored, replacing=replacing)
        return gone

    def add_comparisons(self, rows: pd.DataFrame, *, without: Stale | None = None) -> None:
        """Store comparisons of rankings, in the columns of `comparisons.parquet`.

        without(stored, rows): the stored rows that go when these come, beside those of the same names.
        """
        with _locked(self.folder):
            stored = tables.COMPARISONS.read(self.folder, rewriting=True)
            gone = rows if without is None else pd.concat([without(stored, rows), rows[stored.columns]])
            self._merge(tables.COMPARISONS, rows, stored=stored, replacing=gone)

    def replace_comparisons(self, rows: pd.DataFrame, *, kinds: Sequence[str]) -> None:
        """Store comparisons in place of all stored ones of these kinds: a new comparison leaves nothing of an older."""
        with _locked(self.folder):
            stored = tables.COMPARISONS.read(self.folder, rewriting=True)
            gone = pd.concat([stored[stored["kind"].isin(list(kinds))], rows[stored.columns]], ignore_index=True)
            self._merge(tables.COMPARISONS, rows, stored=stored, replacing=gone)

    def add_classes(self, classes: Shaped[np.ndarray, "layer head"]) -> None:
        """Store each head's class as text, empty for heads that are no induction heads (Method 2.8)."""
        layers, heads = classes.shape
        layer, head = np.divmod(np.arange(layers * heads), heads)
        rows = pd.DataFrame({"layer": layer, "head": head, "class": [str(name) for name in classes.flatten()]})
        with _locked(self.folder):
            self._merge(tables.CLASSES, rows)

    def store_items(self, name: str, frame: pd.DataFrame) -> None:
        """Store a table under items/. Raises UsageError for a name that is no plain file name, or of other columns."""
        if not ITEM_NAME.fullmatch(name):
            raise UsageError(f"{name!r} can't name items: letters, digits, _ . % @ = + - only, no . or - in front")
        with _locked(self.folder):
            put_sealed(self.folder, {item_file(name): encoded(frame, name)})

    def store_attention_example(
        self,
        tokens: Sequence[str],
        patterns: UInt8[Tensor, "layer head query key"],
        scale: float = 1 / LEVELS,
        *,
        blocks: Sequence[int] = (),
    ) -> None:
        """Store every head's attention on one sequence; blocks: the position at which each repeat begins."""
        example = AttentionExample(tuple(tokens), patterns, scale=scale, blocks=tuple(blocks))
        with _locked(self.folder):
            put_sealed(self.folder, {EXAMPLE: example.encoded()})

    def store_vector(self, name: str, content: bytes) -> None:
        """Store a function's vector as vectors/NAME.safetensors, the name percent-encoded."""
        with _locked(self.folder):
            put_sealed(self.folder, {vector_file(name): content})

    def record(self, **facts: Any) -> None:
        """Note what was found on the way (vocabulary rule, skipped lengths) in this stage of the manifest."""
        values = noted(facts)
        self._update(lambda stage: replace(stage, record={**stage.record, **values}))

    def holds_other(self, name: str, key: str, value: str) -> bool:
        """Whether a stage of this command holds another value for this key under this name (`record_alone`)."""
        held = (stage.record.get(name, {}).get(key, value) for stage in self._of_command(self.manifest))
        return any(one != value for one in held)

    def record_alone(self, name: str, key: str, value: str) -> None:
        """Note what a folder holds one of for a command: the other stages of the command forget what they noted."""
        with _locked(self.folder):
            manifest = self.manifest
            stages = tuple(
                _noting(stage, name, key, value if stage.same(self.stage) else None)
                if stage.command == self.stage.command
                else stage
                for stage in manifest.stages
            )
            settled(replace(manifest, stages=stages), self.folder).write(self.folder)

    def _of_command(self, manifest: Manifest) -> list[Stage]:
        return [stage for stage in manifest.stages if stage.command == self.stage.command]

    def finish(self) -> None:
        """Mark the stage as finished; until then the report calls it interrupted."""
        self._update(lambda stage: replace(stage, finished=_now()))

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, HeadscopeError):
            self._withdraw()

    def _withdraw(self) -> None:
        """A command that was refused before it stored anything leaves no word: it would refuse the right command."""
        if self.began is None or not self.folder.is_dir():
            return
        begun, units = self.began
        with _locked(self.folder):
            manifest = read_manifest(self.folder)
            if manifest is None or (settled(manifest, self.folder).files, len(self.units)) != (begun.files, units):
                return
            others = tuple(stage for stage in manifest.stages if not stage.same(self.stage))
            if others or manifest.files or len(self.units):
                replace(manifest, stages=others).write(self.folder)
                return
            (self.folder / FILE).unlink()
            remove_empty(self.folder)

    def _update(self, change: Callable[[Stage], Stage]) -> None:
        with _locked(self.folder):
            manifest = self.manifest
            stages = tuple(change(stage) if stage.same(self.stage) else stage for stage in manifest.stages)
            settled(replace(manifest, stages=stages), self.folder).write(self.folder)

    def _refuse_broken(self, scores: HeadScores | FFNScores, name: str, kind: str) -> None:
        """A score that is no number says that there is no such head: one that broke down must not stand for that."""
        there = [layer for layer in self.layers.get(kind, ()) if layer < len(scores.mean)]
        # Where a layer's window reaches no target of any sequence, nothing could be scored; the score tells it.
        reached = scores.provenance.get(IN_REACH)
        there = [layer for layer in there if reached is None or int(reached[layer]) > 0]
        wrong = (~scores.mean[there].isfinite()).nonzero()
        if len(wrong):
            row, *head = wrong[0].tolist()
            where = ".".join(map(str, (there[row], *head)))
            dtype = self.units.common.get("identity", {}).get("dtype", "its dtype")
            raise HeadscopeError(
                f"the score {name} of {'head' if kind == 'head' else 'the FFN of layer'} {where} is no finite number "
                f"({len(wrong)} are not): the model overflows {dtype}. Load it with dtype float32, and run `headscope "
                "doctor`; nothing of this score was stored"
            )

    def _merge(
        self,
        table: tables.Table,
        rows: pd.DataFrame,
        *,
        stored: pd.DataFrame | None = None,
        replacing: pd.DataFrame | None = None,
    ) -> None:
        old = table.read(self.folder, rewriting=True) if stored is None else stored
        put_sealed(self.folder, {table.file: encode(table.merged(old, rows, replacing=replacing))})


def open_stage(
    model: HookedModel, folder: str | Path, stage: Stage, *, sources: Mapping[str, str] | None = None
) -> RunWriter:
    """`begin_stage` for this very model, whose scores have to be numbers wherever it has heads and FFNs.

    How it was checked when it was loaded is noted.
    """
    layers = {"head": tuple(model.attention_layers), "ffn": tuple(model.ffn_layers)}
    writer = replace(begin_stage(folder, identity_of(model), stage, sources=sources), layers=layers)
    writer.record(check=model.provenance.get("check", "off"))
    return writer


def identity_of(model: HookedModel) -> dict[str, Any]:
    """What numbers are filed under; versions are noted by stage."""
    return {name: value for name, value in model.identity().items() if name != "versions"}


def begin_stage(
    folder: str | Path, identity: Mapping[str, Any], stage: Stage, *, sources: Mapping[str, str] | None = None
) -> RunWriter:
    """A writer for this stage of this model, in a new folder or in one that holds the same model.

    sources: hashes of the rows that its tasks' prompts are made of, by task and split.

    Raises StoreError, before anything is written, where the folder is another model's, holds the command by another
    protocol or other documents of these tasks, is in another format or can't be written to.
    """
    folder = Path(folder)
    check_identity(identity)
    _admit(folder, identity, stage, sources)
    make_writable(folder)
    with _locked(folder):
        manifest = _admit(folder, identity, stage, sources)
        known = any(stage.same(other) for other in manifest.stages)
        stage = replace(stage, started=_now(), finished="", record=_record_so_far(manifest, stage, sources))
        manifest = adopted(manifest.with_stage(stage, folder), folder, [*TABLE_FILES, *item_files(folder)])
        manifest = settled(manifest, folder)
        manifest.write(folder)
        for part in (folder, *(folder / name for name in PARTS)):
            remove_stale(part)
    common = {"identity": dict(identity), "versions": dict(stage.versions)}
    units = UnitStore(folder / "units", common)
    return RunWriter(folder, stage, units, began=None if known else (manifest, len(units)))


def _admit(folder: Path, identity: Mapping[str, Any], stage: Stage, sources: Mapping[str, str] | None) -> Manifest:
    """The manifest that this stage of this model may be added to, a new one in an unused folder."""
    manifest = read_manifest(folder)
    if manifest is None:
        _refuse_orphans(folder)
        manifest = Manifest(identity)
    manifest.refuse_other(identity, folder)
    manifest.with_stage(stage, folder)
    manifest.refuse_other_documents(stage, sources or {}, folder)
    return manifest


def _refuse_other_shape(stored: pd.DataFrame, rows: pd.DataFrame, *, folder: Path) -> None:
    """All scores of one model have the same layers and heads."""
    axes = [axis for axis in ("layer", "head") if axis in rows]
    given = [int(rows[axis].max()) + 1 for axis in axes]
    shape = [int(stored[axis].max()) + 1 for axis in axes] if len(stored) else given
    if shape != given:
        raise UsageError(f"the run '{folder}' holds scores of shape {shape} {axes}, got one of shape {given}")


def _with_provenance(stage: Stage, name: str, provenance: Mapping[str, Any]) -> Stage:
    known = {**stage.record.get("scores", {}), name: dict(provenance)}
    return replace(stage, record={**stage.record, "scores": known}) if provenance else stage


def _noting(stage: Stage, name: str, key: str, value: str | None) -> Stage:
    """The stage with this value for the key under this name, or without the key where there is none."""
    rest = {other: held for other, held in stage.record.get(name, {}).items() if other != key}
    told = rest if value is None else {**rest, key: value}
    return replace(stage, record={**stage.record, name: told}) if told or name in stage.record else stage


def _record_so_far(manifest: Manifest, stage: Stage, sources: Mapping[str, str] | None) -> Mapping[str, Any]:
    """What an interrupted run of this very stage had recorded, and which documents are read now."""
    before = next((other.record for other in manifest.stages if other.same(stage)), stage.record)
    return {**before, SOURCES: dict(sources)} if sources else before


def _refuse_orphans(folder: Path) -> None:
    """Tables without a manifest are nobody's."""
    orphans = [table.path(folder).name for table in tables.TABLES if table.path(folder).exists()]
    if orphans:
        raise StoreError(
            f"the folder '{folder}' holds {orphans[0]} but no manifest.json, so it is unknown which model the numbers "
            "belong to. Choose another folder with -o."
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock of a killed process is released by the system."""
    from filelock import FileLock, Timeout

    gone = f"the folder '{folder}' is gone: it was deleted while a command worked in it"
    if not folder.is_dir():
        raise StoreError(gone)
    try:
        lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS).acquire()
    except FileNotFoundError as error:
        raise StoreError(gone) from error
    except Timeout as error:
        raise StoreError(
            f"another headscope has been writing into '{folder}' for over {LOCK_SECONDS:.0f} seconds; wait for it to "
            "end, or choose another folder with -o."
        ) from error
    with lock:
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
