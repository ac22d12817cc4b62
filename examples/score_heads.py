"""Which heads of a model look back? Score every one of them, without a task.

The model reads random tokens that repeat, where only an earlier copy tells what comes next. Prefix matching is the
attention a head pays to what followed that copy; beside it stand its interval, what chance would give, and what kind of
induction head it is. The mosaic of all heads is written as a page that opens without a network.
"""

import argparse

import induction
import interp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("--sequences", type=int, default=20, help="how many to average over")
parser.add_argument("--out", default="prefix_matching.html")
args = parser.parse_args()

model = interp.load_model(args.model)
sequences = induction.repeated_sequences(model, sequences=args.sequences)
found = induction.induction_scores(model, sequences)
prefix = found.get("prefix_matching")

table = prefix.to_frame().assign(kind=found.heads.classes.flatten()).nlargest(12, "mean")
columns = ["layer", "head", "mean", "ci_low", "ci_high", "null_mean", "p_family", "kind"]
print(table[columns].to_string(index=False, float_format="%.4f"))

prefix.figure().write_html(args.out)
print(f"{len(found.heads.heads)} of {prefix.mean.numel()} heads are induction heads; all are drawn in {args.out}")
