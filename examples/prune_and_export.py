"""Remove the heads that a task needs least, and keep the rest as an ordinary checkpoint.

Heads are ranked on training documents; the task is evaluated on validation documents as more and more of them go, and
again in a random order. What is left at the chosen share is written to a new folder that plain transformers reads: the
removed heads' weights are zero. Loaded again, it scores what the pruned model scored.
"""

import argparse

import ablation
import interp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("--task", default="probe_labels", help="one of the probes, or any multiple-choice task")
parser.add_argument("--limit", type=int, default=32, help="documents to rank on, and to evaluate")
parser.add_argument("--percent", type=int, default=20, help="of the heads, to leave out of the checkpoint")
parser.add_argument("--out", default="pruned", help="a new folder")
args = parser.parse_args()

model = interp.load_model(args.model)
train = ablation.load_task(args.task, shots=5, limit=args.limit, split="train")
validation = ablation.load_task(args.task, shots=5, limit=args.limit)

order = ablation.by_scores(ablation.head_importance(model, train))
percents = sorted({0, 20, 40, 60, args.percent})
for each in (*ablation.random_orders(order.ranking, n=1), order):
    steps = ablation.prune(model, validation, each, percents=percents).steps
    curve = (f"{step.evaluation.metric:.3f} at {step.percent_heads:.0f}%" for step in steps)
    print(f"{each.name:>6}:", *curve, sep="   ")

folder = ablation.export(model, order.mask(args.percent), None, args.out)
again = ablation.evaluate(interp.load_model(folder), validation)
print(f"without {order.removed(args.percent)} heads, loaded from {folder}: {again.metric:.3f}")
