"""Documents as text and as the token ids that are scored (Method 6).

1. Context and continuation are tokenised together and split as the harness's `_encode_pair` does: white space at the
   end of the context moves into the continuation, the context is tokenised alone, and what the joint ids have beyond
   its length is the continuation.
2. In front stands what the tokenizer adds by itself (`auto`), its BOS token (`always`) or nothing (`never`). A prompt
   without any token gets BOS, or else EOS, as in the harness: the first token could not be scored otherwise.
3. A prompt longer than the model's context loses whole demonstrations, the first ones first, as many as its longest
   choice needs; then the text is cut on the left, the same number of tokens for all choices. What stands in front of
   the text stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from interp.errors import UsageError
from interp.tokenizer import read_text

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Demonstration:
    """A solved document in a prompt; `text` ends with the blank line that follows it."""

    id: str
    text: str


@dataclass(frozen=True)
class Document:
    """One document: its prompt, its choices, and which of them are right.

    A prompt is the preamble (empty but in some of the harness's own tasks), the demonstrations and the query.
    `queries` has one text a choice: equal ones, except in WinoGrande, whose contexts differ and continuations agree.
    `gold` is the choice that importance uses; `right` are all that count as right. `unit` is what one value of the
    metric is about (the question in MultiRC, else the document itself). `pool` is the rule that its demonstrations
    show, in tasks that have several.
    """

    id: str
    cluster: str
    unit: str
    preamble: str
    demonstrations: tuple[Demonstration, ...]
    queries: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: int
    right: tuple[int, ...]
    metric: str
    pool: str = ""

    def contexts_without(self, dropped: int) -> tuple[str, ...]:
        """The prompt of each choice without its first demonstrations."""
        front = self.preamble + "".join(shown.text for shown in self.demonstrations[dropped:])
        return tuple(front + query for query in self.queries)

    @property
    def contexts(self) -> tuple[str, ...]:
        """The prompt of each choice."""
        return self.contexts_without(0)

    @property
    def context(self) -> str:
        """The prompt of the gold choice."""
        return self.contexts[self.gold]

    @property
    def target(self) -> str:
        """The gold continuation, with the space in front."""
        return self.continuations[self.gold]


@dataclass(frozen=True)
class TokenDocument:
    """One document as it is scored: choice c is `contexts[c]` followed by `choices[c]`.

    Equal contexts are one object. `dropped` demonstrations and `trimmed` tokens were lost to the model's context
    length, which a context and its choice together never exceed.
    """

    id: str
    cluster: str
    unit: str
    contexts: tuple[Ids, ...]
    choices: tuple[Ids, ...]
    gold: int
    dropped: int
    trimmed: int

    @property
    def context(self) -> Ids:
        """The prompt of the gold choice."""
        return self.contexts[self.gold]

    @property
    def target(self) -> Ids:
        """The gold continuation."""
        return self.choices[self.gold]

    @property
    def cut(self) -> bool:
        """Whether the prompt was too long and lost something."""
        return bool(self.dropped or self.trimmed)


@dataclass(frozen=True)
class TokenDocuments(Sequence):  # type: ignore[type-arg]  # With a type argument, type checks at run time tokenise.
    """A sequence of token documents that tokenises at each access: hold on to what is needed twice.

    `front` are the ids in front of every text: see `front_ids`.
    """

    documents: tuple[Document, ...]
    tokenizer: Any
    max_length: int | None
    front: Ids

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[TokenDocument]:
        return map(self.fitted, self.documents)

    @overload
    def __getitem__(self, index: int) -> TokenDocument: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenDocument]: ...
    def __getitem__(self, index: int | slice) -> TokenDocument | list[TokenDocument]:
        if isinstance(index, slice):
            return [self.fitted(document) for document in self.documents[index]]
        return self.fitted(self.documents[index])

    @property
    def cut(self) -> int:
        """How many documents lost demonstrations or tokens."""
        return sum(document.cut for document in self)

    @cached_property
    def stand_in(self) -> int:
        """What stands for a prompt without any token."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise UsageError("A document has an empty prompt, and the tokenizer has neither a BOS nor an EOS token for it.")

    def fitted(self, document: Document) -> TokenDocument:
        """The document with as many demonstrations, and then tokens, as the model's context holds."""
        for dropped in range(len(document.demonstrations) + 1):
            contexts, choices = self.split(document, document.contexts_without(dropped))
            over = self.over(contexts, choices)
            if over <= 0:
                break
        else:
            contexts = self.trimmed(contexts, over, document)
        return TokenDocument(
            id=document.id,
            cluster=document.cluster,
            unit=document.unit,
            contexts=contexts,
            choices=choices,
            gold=document.gold,
            dropped=dropped,
            trimmed=max(over, 0),
        )

    def over(self, contexts: Sequence[Ids], choices: Sequence[Ids]) -> int:
        """By how many tokens the longest choice exceeds the model's context."""
        if self.max_length is None:
            return 0
        longest = max(len(context) + len(choice) for context, choice in zip(contexts, choices, strict=True))
        return longest - self.max_length

    def trimmed(self, contexts: Sequence[Ids], over: int, document: Document) -> tuple[Ids, ...]:
        """The contexts without `over` tokens of text on the left."""
        keep = len(self.front)
        if min(len(context) for context in contexts) - over < max(keep, 1):
            raise UsageError(
                f"A choice of {document.id} alone fills the model's context of {self.max_length} tokens. "
                "Leave the document out, or take a model with a longer context."
            )
        short = {context: context[:keep] + context[keep + over :] for context in set(contexts)}
        return tuple(short[context] for context in contexts)

    def split(self, document: Document, texts: Sequence[str]) -> tuple[tuple[Ids, ...], tuple[Ids, ...]]:
        """Context and continuation ids of each choice, split as `_encode_pair` does."""
        stripped = [text.rstrip() for text in texts]
        heads = list(dict.fromkeys(stripped))
        whole = [text + continuation for text, continuation in zip(texts, document.continuations, strict=True)]
        encoded = read_text(self.tokenizer, [*heads, *whole], add_special_tokens=False, verbose=False)
        ids = dict(zip(heads, map(tuple, encoded), strict=False))
        contexts = tuple(ids[head] for head in stripped)
        choices = tuple(
            tuple(joint[len(context) :]) for context, joint in zip(contexts, encoded[len(heads) :], strict=True)
        )
        if not all(choices):
            empty = document.continuations[choices.index(())]
            raise UsageError(f"The continuation {empty!r} of {document.id} has no token of its own behind its context.")
        led = {context: (*self.front, *context) or (self.stand_in,) for context in ids.values()}
        return tuple(led[context] for context in contexts), choices


def front_ids(tokenizer: Any, bos: str) -> Ids:
    """The ids in front of a text: what the tokenizer adds by itself, its BOS token, or none."""
    if bos == "never":
        return ()
    if bos == "always":
        if tokenizer.bos_token_id is None:
            raise UsageError("The tokenizer has no BOS token, so `--bos always` can't be served: use auto or never.")
        return (int(tokenizer.bos_token_id),)
    bare = read_text(tokenizer, "a", add_special_tokens=False)
    full = read_text(tokenizer, "a")
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start])
    raise UsageError("What the tokenizer adds to a text could not be found out: say `--bos always` or `--bos never`.")
