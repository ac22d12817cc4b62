#!/usr/bin/env bash
# One machine with several GPUs: copies of the model stand on them, and share the study's units.
#   examples/cluster/several_gpus.sh meta-llama/Llama-3.1-8B
# PER_WORKER=2 spreads each copy over two GPUs, PER_WORKER=1 gives it one. How many a copy needs is what a plan says; for this model
# and four GPUs of 24 GB, two:
#   headscope plan meta-llama/Llama-3.1-8B --gpu-memory 24GB --gpus 4 --memory 128GB
set -euo pipefail
MODEL=${1:?give a model}
GPUS=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
PER_WORKER=${PER_WORKER:-2}
# The driver computes nothing: its copy of the model stays in memory, in the precision that the workers have.
headscope study "$MODEL" --device cpu --dtype bfloat16 --budget paper \
  --engine ray --workers $((GPUS / PER_WORKER)) --gpus-per-worker "$PER_WORKER" --cpus-per-worker 4
