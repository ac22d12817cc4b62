"""Two prompts and the answers behind them, as token ids, and what can be wrong about them (Method 3.4).

Prompts are tokenised as the tokenizer does it by itself (BOS included, where it adds one); answers together with their
prompt, so that a tokenizer that joins the two is noticed. Token ids are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp.errors import UsageError
from interp.tokenizer import read_text

if TYPE_CHECKING:
    from interp.model import HookedModel

Ids = tuple[int, ...]
Text = str | Sequence[int]


@dataclass(frozen=True)
class PromptPair:
    """`corrupt` is run with activations of `clean`; `answers[0]` is asked about, the others stand against it."""

    clean: Ids
    corrupt: Ids
    answers: tuple[Ids, ...]

    @classmethod
    def of(
        cls, model: HookedModel, clean: Text, corrupt: Text, *, answer: Text, other: Text | Sequence[Text] | None = None
    ) -> PromptPair:
        """Raises UsageError for an empty prompt or answer, and where prompt and answer are not apart as tokens."""
        clean_ids, corrupt_ids = prompt_ids(model, clean, "clean"), prompt_ids(model, corrupt, "corrupt")
        texts = [answer, *_several(other)]
        found = [answer_ids(model, clean, clean_ids, text) for text in texts]
        for text, ids in zip(texts, found, strict=True):
            again = answer_ids(model, corrupt, corrupt_ids, text)
            if again != ids:
                raise UsageError(
                    f"the answer {_shown(text)} is {words(model, ids)} behind the clean prompt and "
                    f"{words(model, again)} behind the corrupt one: end both prompts alike"
                )
        if len(set(found)) < len(found):
            raise UsageError(f"two of the answers are the same tokens, {words(model, found[0])}: give different ones")
        return cls(clean_ids, corrupt_ids, tuple(found))

    def refuse_unlike_answers(self, model: HookedModel) -> None:
        """For a difference of logits, or of log-likelihoods, the answers must have equally many tokens."""
        lengths = {len(ids) for ids in self.answers}
        if len(lengths) > 1:
            told = "; ".join(f"{len(ids)}: {words(model, ids)}" for ids in self.answers)
            raise UsageError(
                f"the tokenizer splits the answers unlike each other ({told}), so the difference of their "
                "log-likelihoods would be about their lengths: take answers of equally many tokens, or "
                "outcome='choice'"
            )

    def refuse_unlike_lengths(self, model: HookedModel, why: str) -> None:
        """For whatever goes position by position."""
        if len(self.clean) == len(self.corrupt):
            return
        part = next(n for n in range(len(self.clean) + 1) if self.clean[: n + 1] != self.corrupt[: n + 1])
        ends = [words(model, ids[part : part + 3]) or "its end" for ids in (self.clean, self.corrupt)]
        raise UsageError(
            f"the clean prompt has {len(self.clean)} tokens and the corrupt one {len(self.corrupt)}; they part at "
            f"token {part} ({ends[0]} against {ends[1]}). {why} needs prompts of equal length: word them alike, or "
            "patch the last position (at='last')"
        )


def prompt_ids(model: HookedModel, text: Text, name: str = "") -> Ids:
    """A prompt's tokens; raises UsageError where there are none."""
    if isinstance(text, str):
        if not text.strip():
            raise UsageError(f"the {name} prompt is empty: there is nothing to patch in it; give a text")
        if text != text.rstrip(" "):
            raise UsageError(f"the {name} prompt ends with a space: put it in front of the answer, {' Paris'!r} say")
        ids = tuple(read_text(_tokenizer(model), text, verbose=False))
    else:
        ids = tuple(int(token) for token in text)
    if not ids:
        raise UsageError(f"the {name} prompt has no tokens: there is nothing to patch in it; give a text")
    return ids


def answer_ids(model: HookedModel, prompt: Text, ids: Ids, answer: Text) -> Ids:
    """An answer's tokens behind a prompt; raises UsageError where the two run into one another."""
    if not isinstance(answer, str):
        found = tuple(int(token) for token in answer)
    elif isinstance(prompt, str):
        whole = tuple(read_text(_tokenizer(model), prompt + answer, verbose=False))
        whole = _without_end(model, prompt, ids, whole)
        if whole[: len(ids)] != ids:
            part = next(n for n in range(len(ids)) if whole[n : n + 1] != ids[n : n + 1])
            raise UsageError(
                f"the tokenizer joins the prompt and its answer {answer!r}: token {part} is "
                f"{words(model, ids[part : part + 1])} in the prompt alone and {words(model, whole[part : part + 1])} "
                "in both together; begin the answer with a space, or with a new line in the prompt"
            )
        found = whole[len(ids) :]
    else:
        found = tuple(read_text(_tokenizer(model), answer, add_special_tokens=False, verbose=False))
    if not found:
        raise UsageError(f"the answer {_shown(answer)} has no token: give a text behind the prompt, {' Paris'!r} say")
    return found


def words(model: HookedModel, ids: Sequence[int]) -> str:
    """Tokens as text, each in quotes; numbers without a tokenizer."""
    if model.tokenizer is None:
        return " ".join(map(str, ids))
    return " ".join(repr(model.tokenizer.decode([token])) for token in ids)


def _tokenizer(model: HookedModel) -> Any:
    if model.tokenizer is None:
        raise UsageError("this model has no tokenizer: give prompts and answers as token ids")
    return model.tokenizer


def _without_end(model: HookedModel, prompt: str, ids: Ids, whole: Ids) -> Ids:
    """Without an end-of-text token that the tokenizer puts behind every text."""
    end = model.tokenizer.eos_token_id
    if end is not None and ids[-1:] == (end,) and not prompt.endswith(model.tokenizer.eos_token):
        raise UsageError(
            f"the tokenizer puts {model.tokenizer.eos_token!r} behind every text, which would stand between prompt "
            "and answer: give token ids"
        )
    return whole


def _several(other: Text | Sequence[Text] | None) -> list[Text]:
    if other is None:
        return []
    if isinstance(other, str) or all(isinstance(part, int) for part in other):
        return [other]  # type: ignore[list-item]
    return list(other)  # type: ignore[arg-type]


def _shown(text: Text) -> str:
    return repr(text) if isinstance(text, str) else str(list(text))
