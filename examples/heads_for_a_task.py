"""Which heads does a task need, and are they the heads that match prefixes?

Heads are ranked on training documents by how fast the loss rises as each is faded out. Then as many are removed: from
the top of that ranking, from the top of prefix matching, and at random; the task is evaluated on validation documents.
"""

import argparse

import ablation
import induction
import interp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("--task", default="probe_labels", help="one of the probes, or any multiple-choice task")
parser.add_argument("--shots", type=int, default=5, help="examples in the context")
parser.add_argument("--limit", type=int, default=32, help="documents to rank on, and to evaluate")
parser.add_argument("--percent", type=int, default=4, help="of the heads, to remove")
args = parser.parse_args()

model = interp.load_model(args.model)
train = ablation.load_task(args.task, shots=args.shots, limit=args.limit, split="train")
validation = ablation.load_task(args.task, shots=args.shots, limit=args.limit)

needed = ablation.head_importance(model, train, positions="signed")
matching = induction.prefix_matching_score(model, induction.repeated_sequences(model, sequences=8), draws=0)
rho = ablation.spearman_within_layers(needed.mean.numpy(), matching.mean.numpy()).value
print("needed most:", *(f"{layer}.{head}" for layer, head, _ in needed.top(10)))
print(f"rank correlation with prefix matching, within layers: {rho:+.2f}\n")

masks = {
    "with every head": None,
    "without the most needed": ablation.inverse(needed).mask(args.percent),
    "without the best matching": ablation.inverse(matching).mask(args.percent),
    **{f"without random ones ({n})": ablation.random_orders(needed, seed=n)[0].mask(args.percent) for n in range(3)},
}
for name, mask in masks.items():
    found = ablation.evaluate(model, validation, heads=mask)
    print(f"{name:26} {found.metric_name} {found.metric:.3f} +- {found.stderr:.3f}")
