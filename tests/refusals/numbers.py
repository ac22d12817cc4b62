"""Refusals of numbers that would mislead: scores, nulls, documents, orders, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from torch import Tensor, nn

import ablation
import induction
import interp
from ablation import orders
from ablation.engine.likelihood import log_likelihoods
from ablation.function_vector import FunctionVector
from ablation.importance import ffn_importance
from ablation.knock_out import knock_out
from ablation.patching import patch
from ablation.pruning import prune
from headscope.stages.cells import TaskChoice
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out
from headscope.store.manifest import Stage
from headscope.store.run import TABLE_FILES, open_run
from headscope.store.sealed import copy_sealed
from headscope.store.writer import begin_stage
from induction.sequences import candidates_of
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from interp.scores import HeadScores, Ranking
from tests.ablation.documents import SmallTask, documents
from tests.headscope.commands import Outcome
from tests.headscope.several import model_run
from tests.headscope.store import stored
from tests.headscope.sums import rows, write, write_sums
from tests.induction import tiny, worded
from tests.interp import saved
from tests.interp.families import FAMILIES, VOCAB, build, load
from tests.refusals.case import Desk, refusal

TASKS = ("--tasks", "probe_antonyms", "--shots", "0", "--limit", 4)
TASK = SmallTask(tuple(documents()))
COPA = {"premise": "It rained.", "choice1": "He ran.", "choice2": "He slept.", "question": "effect", "label": 0}


# ---- copying and what is read from weights --------------------------------------------------------------------------


@refusal(RefusedModelError, "normalises the residual stream after every addition", inputs=("opt-350m", "gpt1"))
def copying_behind_post_norm(desk: Desk, family: str) -> Any:
    model = tiny.model(family)
    return induction.copying_score(model, tiny.unrepeated(model))


@refusal(RefusedModelError, "can't place what stands between the last block")
def copying_before_a_projection(desk: Desk) -> Any:
    config = transformers.OPTConfig(**{**FAMILIES["opt"][1], "word_embed_proj_dim": 16})
    model = interp.load_model(transformers.OPTForCausalLM(config), tokenizer=tiny.tokenizer(), check=False)
    return induction.copying_score(model, tiny.unrepeated(model))


@refusal(RefusedModelError, "changes the final norm's output before the unembedding reads it")
def copying_before_a_prediction_head(desk: Desk) -> Any:
    sizes = {name: value for name, value in FAMILIES["gpt_neox"][1].items() if name != "pad_token_id"}
    config = transformers.ModernBertDecoderConfig(**sizes, pad_token_id=0, cls_token_id=1, sep_token_id=2)
    hf = transformers.ModernBertDecoderForCausalLM(config)
    model = interp.load_model(hf, tokenizer=tiny.tokenizer(), check=False)
    return induction.copying_score(model, tiny.unrepeated(model))


@refusal(RefusedModelError, "a single head's result does not exist")
def copying_behind_mixed_heads(desk: Desk) -> Any:
    model = tiny.model("bitnet")
    return induction.copying_score(model, tiny.unrepeated(model))


def cohere() -> Any:
    return build("cohere")


def stablelm() -> Any:
    return transformers.StableLmForCausalLM(
        transformers.StableLmConfig(**{**FAMILIES["stablelm"][1], "qk_layernorm": True})
    )


@refusal(RefusedModelError, "composition is not read for it", inputs=(cohere, stablelm))
def composition_behind_norms_by_head(desk: Desk, make: Any) -> Any:
    return induction.composition_scores(interp.load_model(make(), check=False))


class Factorised(nn.Embedding):
    """A narrow embedding with a projection behind it, as in ALBERT."""

    def __init__(self) -> None:
        super().__init__(VOCAB, 16)
        self.project = nn.Linear(16, 32, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.project(super().forward(ids))


@refusal(RefusedModelError, "the raw variant is not defined")
def raw_copying_of_projected_embeddings(desk: Desk) -> Any:
    hf = build("llama")
    hf.lm_head.weight = nn.Parameter(hf.lm_head.weight.detach().clone())
    hf.model.embed_tokens = Factorised()
    model = interp.load_model(hf, tokenizer=tiny.tokenizer(), check=False)
    return induction.ov_copying_score(model, variant="raw", tokens=40)


@refusal(UsageError, "does not tell which tokens are frequent", inputs=("words", "none"))
def random_tokens(desk: Desk, tokenizer: str) -> Outcome:
    folder = desk.llama()
    if tokenizer == "none":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    return desk.ask("induction", folder, "--length", 5, "--sequences", 2, "-o", desk.out)


@refusal(UsageError, "into nothing or into special tokens")
def tokenizer_that_does_not_fit(desk: Desk) -> Outcome:
    folder = desk.copied("qwen2", lambda folder: saved.save(folder, "qwen2"))
    return desk.ask("induction", folder, "--counts", "uniform", "--check", "off", "-o", desk.out)


@refusal(UsageError, "has no row in this model")
def bos_without_a_row(desk: Desk) -> Any:
    hf = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=1, n_layer=1, n_head=1, n_embd=8))
    model = interp.load_model(hf, tokenizer=tiny.tokenizer(), check=False)
    return induction.repeated_sequences(model, candidates=tiny.CANDIDATES)


@refusal(UsageError, "is too short for random repeated sequences")
def context_too_short(desk: Desk) -> Any:
    return measure_induction(worded.short(12), desk.out)


@refusal(UsageError, "are too few: the shortest random sequences take")
def vocabulary_too_small(desk: Desk) -> Any:
    model = tiny.model("llama")
    few = induction.Candidates(torch.arange(7, 22), "counts", 15)
    return measure_induction(model, desk.out, length=4, candidates=few)


@refusal(UsageError, "copying is scored on sequences without repeats")
def copying_of_repeats(desk: Desk) -> Any:
    model = tiny.model("llama")
    return induction.copying_score(model, tiny.sequences(model))


@refusal(UsageError, "has no wrong token to compare with")
def block_of_two(desk: Desk) -> Any:
    model = tiny.model("llama")
    return induction.induction_scores(model, tiny.sequences(model, length=2))


@refusal(UsageError, "no null was drawn, so nothing can be called above it")
def above_no_null(desk: Desk) -> Any:
    return HeadScores.from_items("prefix_matching", torch.rand(5, 2, 4)).above_null()


def run_it(model: interp.HookedModel) -> Any:
    return model.run(torch.ones(1, 65, dtype=torch.long))


def cache_it(model: interp.HookedModel) -> Any:
    return model.run_with_cache(torch.ones(1, 65, dtype=torch.long), ["pattern"])


@refusal(UsageError, "tokens are more than the model's context of", inputs=(run_it, cache_it))
def beyond_the_context(desk: Desk, use: Any) -> Any:
    return use(load("llama"))


@refusal(UsageError, "leave retrieval out (--also)")
def no_room_for_needles(desk: Desk) -> Any:
    return measure_induction(worded.short(200), desk.out, sequences=2, length=5, also=("retrieval",))


@refusal(UsageError, "leave concept out (--also)")
def no_room_for_entities(desk: Desk) -> Any:
    model = worded.short(40)
    few = replace(candidates_of(model), ids=candidates_of(model).ids[:20])
    return measure_induction(model, desk.out, sequences=2, length=4, candidates=few, also=("concept",))


# ---- ablation -------------------------------------------------------------------------------------------------------


@refusal(UsageError, "a layer has one FFN, whose score it would make 1")
def ffns_by_layer(desk: Desk) -> Any:
    return ffn_importance(load("gpt2"), documents(), normalise="layer_l2")


def write_copa(desk: Desk, *, train: int = 5, label: int = 0) -> Path:
    folder = desk.place / "data" / "copa"
    folder.mkdir(parents=True)
    for split, count in (("train", train), ("validation", 5)):
        rows = [{**COPA, "premise": f"It rained {n}.", "label": 0 if split == "train" else label} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder.parent


@refusal(UsageError, "reference documents", inputs=("mean", "resample"))
def too_few_references(desk: Desk, way: str) -> Outcome:
    asked = ("--tasks", "copa", "--data", write_copa(desk), "--shots", 0, "--limit", 4, "-o", desk.out)
    return desk.ask("knockout", desk.model, *asked, "--ablation", way)


@refusal(UsageError, "reference and evaluated at once", inputs=("mean", "resample"))
def references_among_the_evaluated(desk: Desk, way: str) -> Any:
    given = documents(64)
    return knock_out(load("gpt2"), given, component="ffn", ablation=way, references=given)


@refusal(UsageError, "reference and evaluated at once", inputs=("importance", "knock_out", "log_likelihoods"))
def mean_of_the_evaluated(desk: Desk, name: str) -> Any:
    model, given = load("gpt2"), documents(64)
    means = ablation.make_replacement(model, "mean", given)
    if name == "knock_out":
        return knock_out(model, given[:1], component="ffn", replacement=means)
    return getattr(ablation, name if name != "importance" else "head_importance")(model, given[:1], replacement=means)


@refusal(UsageError, "are copies of evaluated ones", inputs=("mean", "resample"))
def references_that_are_copies(desk: Desk, way: str) -> Outcome:
    data = write_sums(desk.place / "data")
    for split in ("train", "validation"):
        write(data / f"{split}.jsonl", rows(0, 64))
    asked = ("--tasks", "sums", "--data", data.parent, "--shots", 0, "--limit", 64, "-o", desk.out)
    return desk.ask("knockout", desk.model, *asked, "--ablation", way)


@refusal(UsageError, "was computed on another model")
def order_of_other_weights(desk: Desk) -> Any:
    found = ablation.head_importance(load("gpt2"), TASK)
    return prune(load("gpt2", seed=1), TASK, found, component="head")


@refusal(UsageError, "it is of another model", inputs=((3, 4), (2, 8)))
def order_of_another_shape(desk: Desk, shape: tuple[int, int]) -> Any:
    return prune(load("gpt2"), TASK, Ranking("head", "own", torch.rand(*shape)))


def by_log_likelihood(model: interp.HookedModel) -> Any:
    return knock_out(model, TASK, component="ffn")


def by_gradient(model: interp.HookedModel) -> Any:
    return ablation.head_importance(model, TASK)


def by_patch(model: interp.HookedModel) -> Any:
    return patch(model, [3, 4, 5], [3, 4, 6], answer=[7], other=[9])


@refusal(HeadscopeError, "is no finite number: it overflows", inputs=(by_log_likelihood, by_gradient, by_patch))
def overflow(desk: Desk, use: Any) -> Any:
    """Finite weights, whose logits are beyond float16."""
    model = load("llama", dtype=torch.float16)
    with torch.no_grad():
        model.hf.lm_head.weight.fill_(60_000.0)
        model.hf.model.norm.weight.fill_(60_000.0)
    return use(model)


@refusal(HeadscopeError, "when it is computed by itself")
def recomputed_otherwise(desk: Desk) -> Any:
    with mock.patch("ablation.engine.recheck.plain_log_likelihood", return_value=torch.tensor(-1.0)):
        return log_likelihoods(load("gpt2"), documents())


@refusal(UsageError, "is in training mode with dropout")
def dropped(desk: Desk) -> Any:
    model = interp.load_model(build("gpt2"), check=False)
    model.hf.train()
    return log_likelihoods(model, documents())


@refusal(HeadscopeError, "along the gradient of all gates")
def gradient_of_something_else(desk: Desk) -> Any:
    with mock.patch("ablation.gate_gradients._dots", lambda a, b: 1.2 * (a * b).sum(-1)):
        return ffn_importance(load("gpt2"), documents())


# ---- tasks ----------------------------------------------------------------------------------------------------------


@refusal(UsageError, "is no list of numbers of shots", inputs=("a", "1.5", "", "0;1"))
def shots(desk: Desk, given: str) -> Outcome:
    return desk.ask("importance", desk.model, "--tasks", "probe_antonyms", "--shots", given, "-o", desk.out)


@refusal(UsageError, "There is no task", inputs=("probe_antonym", "lm_eval:nothing", "coppa"))
def unknown_task(desk: Desk, name: str) -> Outcome:
    return desk.ask("importance", desk.model, "--tasks", name, "-o", desk.out)


@refusal(
    UsageError,
    "can't be used: headscope scores text tasks by the log-likelihood of given choices",
    inputs=("gsm8k", "triviaqa", "lambada_openai"),
)
def task_that_generates(desk: Desk, name: str) -> Outcome:
    return desk.ask("importance", desk.model, "--tasks", name, "-o", desk.out)


@refusal(
    UsageError,
    "must be turned into tokens, and this model has no tokenizer",
    inputs=("importance", "knockout", "attention"),
)
def text_without_tokenizer(desk: Desk, name: str) -> Outcome:
    folder = desk.copied("plain", lambda folder: saved.save(folder, tokenizer=False))
    asked = {"attention": ("--text", "a b", "--layer", 1)}.get(name, (*TASKS, "-o", desk.out))
    return desk.ask(name, folder, *asked, "--check", "off")


@refusal(UsageError, "has no FFN that headscope can place, so there is none to remove")
def ffns_that_are_not_there(desk: Desk) -> Any:
    model = load("llama", tokenizer=tiny.tokenizer())
    bare = replace(model, layout=replace(model.layout, ffn=None, ffn_out=None))
    return measure_knock_out(bare, desk.out, TaskChoice(("probe_pattern",), (0,), limit=4), component="ffn")


@refusal(UsageError, "has no gold label among its")
def unlabelled(desk: Desk) -> Outcome:
    asked = ("--tasks", "copa", "--data", write_copa(desk, label=-1), "--shots", 0, "-o", desk.out)
    return desk.ask("prune", desk.model, *asked, "--order", "iterative")


@refusal(UsageError, "shots were asked for, but", inputs=("probe_antonyms", "copa"))
def more_shots_than_documents(desk: Desk, task: str) -> Outcome:
    asked = ("--tasks", task, "--data", write_copa(desk), "--shots", "0,500", "-o", desk.out)
    return desk.ask("importance", desk.model, *asked)


@refusal(UsageError, "of at least one task besides the one that is evaluated")
def aggregate_of_one_task(desk: Desk) -> Any:
    return orders.aggregate({"a": HeadScores.from_items("importance", torch.rand(4, 2, 4))}, without="a")


# ---- runs -----------------------------------------------------------------------------------------------------------


@refusal(UsageError, "it is a published copy, and comparing again would lose them")
def published_copy(desk: Desk) -> Outcome:
    whole, copy = desk.place / "whole", desk.place / "published"
    copy.mkdir()
    with begin_stage(whole, stored.IDENTITY, stored.STAGE) as writer:
        writer.add_scores(
            HeadScores.from_items("importance", torch.rand(5, 2, 4), variant="token"), task="copa", shots=0
        )
        writer.add_comparisons(stored.comparison_row())
    copy_sealed(whole, copy, TABLE_FILES)
    return desk.ask("compare", copy)


def beside_another(desk: Desk, **changed: Any) -> Outcome:
    one = desk.shelved("one", lambda folder: model_run(folder, layers=2, weights="feedface"))
    return desk.ask("compare-models", one, model_run(desk.place / "two", layers=2, **changed))


@refusal(
    UsageError,
    "are of unlike protocol",
    inputs=({"limit": 20}, {"tasks": ["probe_labels"]}, {"documents": {"probe_labels, 5 shots": "cccc"}}),
)
def unlike_runs(desk: Desk, changed: Any) -> Outcome:
    return beside_another(desk, **changed)


@refusal(UsageError, "hold the same weights")
def the_same_model_twice(desk: Desk) -> Outcome:
    return beside_another(desk, weights="feedface")


def write_screened(desk: Desk) -> Path:
    folder = desk.run_of_model()
    identity = open_run(folder).identity
    with begin_stage(folder, identity, Stage("screen", {}, tasks=("probe_labels",))) as writer:
        writer.record(learnt=["probe_labels"])
    return folder


@refusal(UsageError, "holds no screen, so nobody knows", inputs=("vectors", "contest"))
def without_a_screen(desk: Desk, name: str) -> Outcome:
    return desk.ask(name, desk.model, "-o", desk.run_of_model())


@refusal(UsageError, "did not see", inputs=("vectors", "contest"))
def another_screen(desk: Desk, name: str) -> Outcome:
    return desk.ask(name, desk.model, "--tasks", "probe_french", "-o", write_screened(desk))


@refusal(UsageError, "usable queries a task, and", inputs=(1, 14))
def too_few_queries(desk: Desk, queries: int) -> Outcome:
    asked = ("--tasks", "probe_labels", "--queries", queries, "-o", write_screened(desk))
    return desk.ask("vectors", desk.model, *asked)


@refusal(UsageError, "a vector means nothing in another model")
def vector_of_another_model(desk: Desk) -> Any:
    made = FunctionVector("f", ((0, 0),), torch.zeros(2, 4, 8), {"model": {"weight_hash": "00" * 32}})
    return made.value(load("llama"))


PROMPTS = {"--clean": "ab cd ef ab cd", "--corrupt": "ab cd gh ab cd", "--answer": " ef", "--other": " gh"}


def patched(desk: Desk, **changed: str) -> Outcome:
    given = {**PROMPTS, **{f"--{name}": value for name, value in changed.items()}}
    return desk.ask("patch", desk.model, *[part for pair in given.items() for part in pair], "--check", "off")


@refusal(UsageError, "needs prompts of equal length", inputs=("attribution", "ig"))
def prompts_of_unlike_length(desk: Desk, method: str) -> Outcome:
    return patched(desk, corrupt="ab cd gh gh ab cd", method=method)


@refusal(UsageError, "splits the answers unlike each other")
def answers_of_unlike_length(desk: Desk) -> Outcome:
    return patched(desk, other=" abcdefgh")
