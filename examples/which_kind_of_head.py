"""Is this head an induction head, a function-vector head, or both?

An induction head looks back at what followed an earlier copy, in any text. A function-vector head says, at the end of a
prompt with examples, what the examples have in common: put there from prompts with right answers, what it says helps a
prompt whose examples have wrong ones. Each kind is read where it is defined, beside what chance would give.
"""

import argparse

import ablation
import induction
import interp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("--tasks", default="probe_capitals,probe_antonyms,probe_past_tense,probe_plurals,probe_labels")
parser.add_argument("--queries", type=int, default=16, help="prompts asked of each task, 15 at least")
parser.add_argument("--sequences", type=int, default=20, help="random sequences that repeat")
parser.add_argument("--top", type=int, default=10, help="how many heads of each kind to show")
args = parser.parse_args()

model = interp.load_model(args.model)
looking = induction.induction_scores(model, induction.repeated_sequences(model, sequences=args.sequences))
matching = looking.get("prefix_matching")
vectors = ablation.function_vectors(model, ablation.expand_task_names(args.tasks), queries=args.queries)
for task, reason in vectors.left_out.items():
    print(f"left out: {task}: {reason}")

is_induction = {tuple(head) for head in looking.heads.heads}
is_vector = {(head.layer, head.head) for head in vectors.heads}
shown = [(head.layer, head.head) for scores in (vectors.scores, matching) for head in scores.top(args.top)]
print("head   looks back  says the function (95%)     kind")
for layer, head in dict.fromkeys(shown):
    kinds = [name for name, heads in (("induction", is_induction), ("FV", is_vector)) if (layer, head) in heads]
    low, high = (float(bound[layer, head]) for bound in (vectors.scores.ci_low, vectors.scores.ci_high))
    score = f"{float(vectors.scores.mean[layer, head]):+.3f} [{low:+.3f}, {high:+.3f}]"
    print(f"{layer}.{head:<4} {float(matching.mean[layer, head]):9.3f}   {score:26}  {' and '.join(kinds) or '-'}")
