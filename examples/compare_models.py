"""Do two models have induction heads in the same places?

Each model reads random repeated tokens of its own vocabulary. Models of one shape (a base model and its fine-tuned,
pruned or quantised kin) are also compared head by head. Given a single model, the script compares it with itself in
bfloat16: what does rounding do to the heads?
"""

import argparse

import ablation
import induction
import interp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("other", nargs="?", help="the model to compare it with")
parser.add_argument("--sequences", type=int, default=20, help="how many to average over")
args = parser.parse_args()


def prefix_matching(source: str, dtype: str | None = None) -> interp.HeadScores:
    model = interp.load_model(source, dtype=dtype)
    scores = induction.prefix_matching_score(model, induction.repeated_sequences(model, sequences=args.sequences))
    found = induction.induction_heads(scores).heads
    depths = sorted(layer / model.n_layers for layer, _ in found)
    where = f", the middle one at {depths[len(depths) // 2]:.0%} of the depth" if depths else ""
    print(f"{source} ({model.dtype}): {len(found)} of {scores.mean.numel()} are induction heads{where}")
    print("   strongest:", ", ".join(map(str, scores.top(6))))
    return scores


first = prefix_matching(args.model).mean.numpy()
second = prefix_matching(args.other or args.model, None if args.other else "bfloat16").mean.numpy()
if first.shape == second.shape:
    top = ablation.overlap(first, second, percents=[5])
    print(f"Spearman over all heads: {ablation.spearman(first, second).value:.3f}")
    print(f"of the top {top.k[0]} heads {top.overlap[0]:.0f} are the same; chance gives {top.expected_layer[0]:.1f}")
