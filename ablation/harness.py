"""Our likelihood engine as a model of lm-evaluation-harness, for people who run the harness themselves.

    from ablation.harness import HeadscopeLM
    lm_eval.simple_evaluate(model=HeadscopeLM(model, heads=mask), tasks=["arc_easy"])

Importing the name imports the harness and registers the model there as `headscope`, so that `model="headscope"` with
`model_args="pretrained=smollm2-135m"` works too. Prompts, metrics and the splitting of context and continuation are
the harness's own; what is ours is that shared prefixes run once and that heads and FFNs can be removed. Long prompts
are cut on the left, as the harness's own models do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ablation.engine.likelihood import Progress, score_requests
from interp.errors import UsageError
from interp.loading import load_model
from interp.masks import FFNs, Heads
from interp.model import HookedModel
from interp.tokenizer import tokenizer_of

if TYPE_CHECKING:
    pass

NAME = "headscope"
FALLBACK_LENGTH = 2048  # where a configuration does not say how long a context may be, as in the harness
EncodedRequest = tuple[Any, Sequence[int], Sequence[int]]
logger = logging.getLogger(__name__)


class Scoring:
    """What `HeadscopeLM` adds to the harness's TemplateLM."""

    cache_hook: Any

    def __init__(
        self,
        pretrained: HookedModel | str = "smollm2-135m",
        *,
        heads: Heads | None = None,
        ffns: FFNs | None = None,
        token_budget: int | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
        **load_options: Any,
    ) -> None:
        """`pretrained`: a loaded model, or what `load_model` takes, with its options. `heads` and `ffns` are removed.

        The harness's batch sizes are accepted and not used: `token_budget` says how many tokens run at once.
        """
        super().__init__()
        given = isinstance(pretrained, HookedModel)
        self.hooked = pretrained if isinstance(pretrained, HookedModel) else load_model(pretrained, **load_options)
        if given and any(value is not None for name, value in load_options.items() if name != "device"):
            raise UsageError(f"the model is loaded already: {sorted(load_options)} can't be served; leave them out")
        self.heads, self.ffns, self.token_budget = heads, ffns, token_budget
        self._device = self.hooked.device

    # --- text to tokens ----------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        return tokenizer_of(self.hooked, "the harness's texts")

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands in front of a text without context."""
        bos = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if bos is None else bos

    @property
    def max_length(self) -> int:
        return self.hooked.max_length or FALLBACK_LENGTH

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **ignored: Any) -> list[int]:
        """Token ids, with what the tokenizer adds by itself unless the text begins with it already."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode(self.prefix_token_id))
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens, verbose=False)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    # --- scores ------------------------------------------------------------------------------------------------------

    def _loglikelihood_tokens(
        self, requests: Sequence[EncodedRequest], disable_tqdm: bool = False, **ignored: Any
    ) -> list[tuple[float, bool]]:
        pairs = [self.cut(context, continuation) for _, context, continuation in requests]
        with progress_bar(shown=not disable_tqdm) as progress:
            scores = score_requests(
                self.hooked, pairs, heads=self.heads, ffns=self.ffns, token_budget=self.token_budget, progress=progress
            )
        answers = list(zip(scores.log_likelihoods.tolist(), scores.greedy.tolist(), strict=True))
        for (text, _, _), answer in zip(requests, answers, strict=True):
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def cut(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The pair without what does not fit on the left; the last token is never fed to the model."""
        over = len(context) + len(continuation) - (self.max_length + 1)
        if over >= len(context):
            raise UsageError(
                f"a continuation of {len(continuation)} tokens fills the model's context of {self.max_length} alone"
            )
        if over > 0:
            logger.warning("A prompt of %d tokens was cut on the left by %d.", len(context), over)
        return tuple(context[max(over, 0) :]), tuple(continuation)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows of the model's context, each token predicted once."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        texts = [request.args[0] for request in requests]
        windows: list[EncodedRequest] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            for window in get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(number)
        totals = [0.0] * len(texts)
        for owner, (value, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            totals[owner] += value
        for text, total in zip(texts, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise UsageError(
            "headscope scores given continuations and does not generate text: choose multiple-choice or perplexity "
            "tasks, or run this task with the harness's own model (`--model hf`)"
        )

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside its results."""
        told = {f"headscope_{name}": value for name, value in self.hooked.provenance.items()}
        return {**told, "headscope_gates": self.heads is not None or self.ffns is not None}


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[Progress]:
    """A bar on a person's terminal, as the harness's own models have."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, disable=not (shown and console.is_terminal)) as bar:
        line = bar.add_task("Log-likelihoods")

        def progress(done: int, total: int) -> None:
            bar.update(line, completed=done, total=total)

        yield progress


@cache
def harness_model() -> type:
    """HeadscopeLM: built, and registered with the harness, when it is first asked for."""
    try:
        import lm_eval.models  # noqa: F401  (the harness adds its own models only where no other was registered yet)
        from lm_eval.api.model import TemplateLM
        from lm_eval.api.registry import register_model
    except ImportError as error:
        raise UsageError(
            f"lm-evaluation-harness can't be imported ({error}). Install it with: pip install 'headscope[tasks]'"
        ) from error
    described = {"__doc__": Scoring.__doc__, "__module__": __name__}
    return register_model(NAME)(type("HeadscopeLM", (Scoring, TemplateLM), described))


def __getattr__(name: str) -> Any:
    """`HeadscopeLM`, built on demand: the harness takes seconds to import."""
    if name == "HeadscopeLM":
        return harness_model()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
