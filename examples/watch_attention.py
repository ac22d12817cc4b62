"""Where does one head look? Watch its attention on a text of your own.

Left to itself the script takes the head that matches prefixes best. It prints who looks at whom (the first token apart:
it takes the attention that a head has no use for) and writes a page that opens without a network: each row is a token
that looks, each column one that is looked at.
"""

import argparse
from pathlib import Path

import induction
import interp

TEXT = "Ada Okonkwo keeps bees behind the observatory. On Sundays Ada Okonkwo sells honey behind the observatory."
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("--text", default=TEXT)
parser.add_argument("--head", help="layer.head, as 18.6")
parser.add_argument("--out", default="attention.html")
args = parser.parse_args()

model = interp.load_model(args.model)
if args.head:
    layer, head = interp.parse_heads(args.head)[0]
else:
    sequences = induction.repeated_sequences(model, sequences=4)
    layer, head, _ = induction.prefix_matching_score(model, sequences, draws=0).top(1)[0]

view = model.attention_view(args.text, layer, head)
for query, row in enumerate(view.patterns[0]):
    key = row[1:].argmax() + 1
    if row[key] > 0.1:
        print(f"{view.tokens[query]!r:>16} looks at {view.tokens[key]!r:<16} {row[key]:.2f}")

Path(args.out).write_text(view.page(title=f"Head {layer}.{head}"), encoding="utf-8")
print(f"head {layer}.{head} is drawn in {args.out}", view.caption)
