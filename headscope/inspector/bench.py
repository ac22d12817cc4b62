"""What the inspector looks at: a run, a model, or both; and the answers it keeps for a while."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from headscope.inspector.asked import Prompt, RemovedParts
from headscope.inspector.cache import Kept
from headscope.inspector.passes import Attention, PromptPass, StoredAttention, read_pass
from headscope.inspector.prompts import Tokens, tokens_of
from headscope.inspector.score_table import ScoreTable
from headscope.inspector.scoring import ScoringThread
from headscope.inspector.token_copies import TokenCopies, bytes_of, token_copies
from headscope.inspector.work import Work
from headscope.store.snapshot import Stored
from interp.errors import UsageError

if TYPE_CHECKING:
    from headscope.inspector.beside import Beside
    from headscope.store.run import Run
    from induction import Candidates
    from interp.gating import Reference
    from interp.model import HookedModel

Made = TypeVar("Made")
NO_EXAMPLE = "The run holds no stored sequence: `headscope induction` stores one."
PASSES = 512 << 20  # bytes of passes kept
CIRCUITS = 256 << 20  # bytes of embeddings kept, as layers read them


@dataclass(eq=False)
class Bench:
    """run or model, or both. why: why there is no model. data: where tasks' documents come from (`hub` or a folder).

    scoring: scores that are being made while the page is looked at, if there are any. beside: another run. counts: how
    often tokens occur, for a model whose tokenizer does not say (stages/token_counts.py).
    """

    name: str
    run: Run | None = None
    model: HookedModel | None = None
    why: str = ""
    data: str = "hub"
    scoring: ScoringThread | None = None
    beside: Beside | None = None
    counts: str | None = None
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        if self.run is None and self.model is None:
            raise UsageError("there is nothing to inspect: neither a run nor a model")
        self._passes: Kept[PromptPass] = Kept(entries=32, size=PASSES, weigh=lambda made: made.size)
        self._tokens: Kept[Tokens] = Kept(entries=128)
        self._prompts: Kept[Prompt] = Kept(entries=512)
        self._small: Kept[Any] = Kept(entries=1024)
        self._circuits: Kept[Any] = Kept(entries=1024, size=CIRCUITS, weigh=bytes_of)
        self._scores: tuple[int, ScoreTable] | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is known of the model."""
        if self.run is not None:
            return self.run.identity
        model = self.live
        return {"architecture": model.layout.architecture, **model.provenance}

    # --- what is stored ----------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Rises when scores have been added."""
        return self.scoring.version if self.scoring is not None else 0

    @property
    def stored(self) -> Stored | None:
        """The tables of the run as they are now."""
        run = self.run or (self.scoring.run if self.scoring is not None else None)
        return None if run is None else self._small.made(("stored", self.version), lambda: Stored(run))

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """A small answer, made if it is not held."""
        answer: Made = self._small.made(key, make)
        return answer

    @property
    def scores(self) -> ScoreTable:
        """The scores as they are now; blank where there are none yet."""
        version, stored = self.version, self.stored
        if self._scores is None or self._scores[0] != version:
            table = ScoreTable.read(stored) if stored is not None else ScoreTable(0, 0, 0)
            if not table.entries and self.model is not None:
                table = ScoreTable.blank(self.model)
            self._scores = (version, table)
        return self._scores[1]

    @property
    def example(self) -> StoredAttention | None:
        """The sequence stored with the run."""
        stored = self.stored
        if stored is None:
            return None

        def read() -> tuple[StoredAttention | None]:
            example = stored.run.attention_example
            return (None if example is None else StoredAttention.of(example),)

        return self.kept(("example", self.version), read)[0]

    @property
    def candidates(self) -> Candidates:
        """What random prompts are drawn from: as the run's sequences were, by `counts`, else what the model says.

        Where no tokenizer says which tokens are frequent, all are drawn alike.
        """
        from headscope.stages.token_counts import UNIFORM, read_counts, recorded_candidates
        from induction.sequences import candidates_of

        stored = self.stored
        recorded = None if stored is None else recorded_candidates(stored.run.manifest)
        told = UNIFORM if self.live.tokenizer is None else None
        made: Candidates = recorded or candidates_of(self.live, read_counts(self.counts or told))
        return made

    @property
    def lookable(self) -> bool:
        """Whether there is attention to look at."""
        return self.model is not None or self.example is not None

    # --- what the model says -----------------------------------------------------------------------------------------

    @property
    def live(self) -> HookedModel:
        """The model. Raises UsageError, with the reason, where there is none."""
        if self.model is None:
            raise UsageError(f"This needs the model, which is not loaded: {self.why}")
        return self.model

    def attention(self, prompt: Prompt, removal: RemovedParts | None = None) -> Attention:
        """What to look at for this prompt, which its key then names."""
        self._prompts.put(prompt.key, prompt)
        if prompt.kind != "stored":
            return self.read(prompt, removal)
        if self.example is None:
            raise UsageError(NO_EXAMPLE)
        return self.example

    def read(self, prompt: Prompt, removal: RemovedParts | None = None) -> PromptPass:
        """The prompt's pass through the whole model, or without what is removed; made once, kept for a while."""
        model, removal = self.live, removal or RemovedParts()
        key = (prompt.key, removal)
        known = self._passes.get(key)
        if known is not None:
            return known
        reference = self.reference(removal)
        with self.gated("reading the prompt", removal, reference) as tell:
            tokens = self._tokens.made(prompt.key, lambda: self._read_tokens(prompt))
            return self._passes.made(key, lambda: read_pass(model, tokens, tell))

    def _read_tokens(self, prompt: Prompt) -> Tokens:
        drawn = self.candidates if prompt.kind == "repeated" else None
        return tokens_of(prompt, self.live, self.data, candidates=drawn)

    def asked_before(self, key: str) -> Prompt | None:
        """The prompt of this key, if it was read not long ago."""
        return self._prompts.get(key)

    def gate(self, stack: ExitStack, removal: RemovedParts, reference: Reference | None) -> None:
        """Hold the gates of a removal."""
        from interp.masks import FFNMask, HeadMask

        model = self.live
        heads = HeadMask.keep_all(model.n_layers, model.n_heads).without(removal.heads) if removal.heads else None
        ffns = FFNMask.keep_all(model.n_layers).without(removal.ffns) if removal.ffns else None
        stack.enter_context(model.gates(heads=heads, ffns=ffns, reference=reference))

    @contextmanager
    def gated(
        self, doing: str, removal: RemovedParts, reference: Reference | None
    ) -> Iterator[Callable[[int, int], None]]:
        """The model held alone, with a removal's gates on it; the value tells how far the work is."""
        with self.work.on_model(doing) as tell, ExitStack() as stack:
            self.gate(stack, removal, reference)
            yield tell

    def reference(self, removal: RemovedParts) -> Reference | None:
        """What stands in for what is removed; the means are made once."""
        if removal.ablation == "zero" or not removal:
            return None
        from headscope.inspector.removal import means

        with self.work.on_model("averaging over reference documents") as tell:
            reference: Reference = self._small.made("means", lambda: means(self.live, tell))
            return reference

    def repeat_score(self, removal: RemovedParts) -> float:
        """The in-context-learning score on a few repeated sequences, with the removal in place."""
        from headscope.inspector.removal import repeat_score

        model, known = self.live, self._small.get(("repeat", removal))
        if known is not None:
            return float(known)
        reference = self.reference(removal)
        with self.gated("measuring in-context learning", removal, reference):
            return float(self._small.made(("repeat", removal), lambda: repeat_score(model, self.candidates)))

    def copies(self, layer: int, head: int) -> TokenCopies:
        """What a head's OV circuit does with single tokens."""
        model = self.live
        copies = self._small.get(("copies", layer, head))
        if copies is None:
            with self.work.on_model("reading the OV circuit"):
                copies = self._small.made(
                    ("copies", layer, head), lambda: token_copies(model, self._circuits, layer, head, self.candidates)
                )
        return copies
