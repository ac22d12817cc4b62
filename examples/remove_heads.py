"""Remove heads while a model reads a text, and see what it says then.

Left to itself the script takes a text in which a rare word returns, and the five heads that match prefixes best: it
removes the one of them that the word needs most, then all five.
"""

import argparse

import induction
import interp

TEXT = "Mr Dursley was thin and blond. Harry said that Mr Dursley was thin and"
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="smollm2-135m", help="a hub id, a folder or a .gguf file")
parser.add_argument("--text", default=TEXT)
parser.add_argument("--heads", help="which to remove, as 18.6,17.3")
args = parser.parse_args()

model = interp.load_model(args.model)
if args.heads:
    heads = interp.parse_heads(args.heads)
else:
    sequences = induction.repeated_sequences(model, sequences=4)
    heads = [row.place for row in induction.prefix_matching_score(model, sequences, draws=0).top(5)]


def probabilities(removed):
    with model.gates(heads=removed):
        return model(args.text)[0, -1].softmax(-1)


answer = int(probabilities([]).argmax())
needed = min(heads, key=lambda head: probabilities([head])[answer])
print(f"{args.text} ...")
for removed in ([], [needed], heads):
    with model.gates(heads=removed):
        text = model.generate(args.text, 4).removeprefix(args.text)
    said = f"without {', '.join(f'{layer}.{head}' for layer, head in removed)}" if removed else "with every head"
    print(f"{said}: {model.to_str_tokens([answer])[0]!r} {probabilities(removed)[answer]:.0%}, {text!r}")
