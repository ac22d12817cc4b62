"""When do induction heads appear? Follow them through the checkpoints of a training run.

Each checkpoint, a local folder, reads the same random repeated tokens. In-context learning is what an earlier copy does
to the loss (in nats, negative = it learns); an induction head matches prefixes at .4 or more and above chance. The
curves are written as a page that opens without a network:

    python examples/sweep_checkpoints.py runs/mine/step*
"""

import argparse
import re
from pathlib import Path

import pandas as pd
import plotly.express as px

import induction
import interp

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="*", default=["smollm2-135m"], help="folders, run in the order of their numbers")
parser.add_argument("--sequences", type=int, default=20, help="how many to average over")
parser.add_argument("--out", default="sweep.html")
args = parser.parse_args()

rows = []
for folder in sorted(args.model, key=lambda name: [int(number) for number in re.findall(r"\d+", Path(name).name)]):
    model = interp.load_model(folder)
    sequences = induction.repeated_sequences(model, sequences=args.sequences)
    prefix = induction.prefix_matching_score(model, sequences)
    learning = induction.in_context_learning_score(model, sequences).repeat
    heads = len(induction.induction_heads(prefix).heads)
    rows.append((Path(folder).name, learning, heads, prefix.top(1)[0].score))

table = pd.DataFrame(rows, columns=["checkpoint", "in-context learning", "induction heads", "strongest head"])
print(table.to_string(index=False, float_format="%.3f"))
curves = px.line(table.melt("checkpoint"), x="checkpoint", y="value", facet_row="variable", markers=True, height=700)
curves.for_each_annotation(lambda label: label.update(text=label.text.partition("=")[2]))
curves.update_yaxes(matches=None, rangemode="tozero", title="").write_html(args.out)
