"""Train small models from nothing, to watch induction heads form: 1 to 4 layers, on text that this program makes up.

Every model is a plain Hugging Face folder (Llama- or GPT-2-shaped, a vocabulary of 334 words), with checkpoints along
the way; beside the models stand three tasks in their language. `--quick` trains a single two-layer model. What is there
already is not trained again.

    python examples/train_small_models.py --out small-models
"""

import argparse
from pathlib import Path

import torch
import transformers

from small_models.shapes import QUICK, SHAPES, STEPS
from small_models.task_files import write_tasks
from small_models.training import Recipe, train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", default="small-models", help="the folder to write")
parser.add_argument("--quick", action="store_true", help=f"{QUICK.name} only")
parser.add_argument("--steps", type=int, help=f"how long each is trained ({STEPS}; with --quick 1200)")
parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
parser.add_argument("--seed", type=int, default=0, help="of the corpus and of the first weights")
parser.add_argument("--threads", type=int, default=1, help="cores to use; other numbers than 1 round differently")
args = parser.parse_args()

torch.set_num_threads(args.threads)
transformers.logging.disable_progress_bar()
write_tasks(Path(args.out) / "tasks", seed=args.seed)
for shape in [QUICK] if args.quick else SHAPES:
    steps = args.steps or (1200 if args.quick else STEPS)
    train(Recipe(shape, steps, args.every, args.seed), Path(args.out))
