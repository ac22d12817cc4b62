"""Count the parameters of well-known models from what their makers publish, into headscope/plan/shapes.json.

    python docs/known_shapes.py [ID...]

The facts below are those of each model's config.json on the hub. No weights and no network: the model is built on the
meta device, which takes some seconds for a large one. With IDs, only these are printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OPT = {"vocab_size": 50272, "max_position_embeddings": 2048, "do_layer_norm_before": True}
# width, layers, heads
OPTS = {
    "125m": (768, 12, 12),
    "1.3b": (2048, 24, 32),
    "2.7b": (2560, 32, 32),
    "6.7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
    "30b": (7168, 48, 56),
    "66b": (9216, 64, 72),
}
GPT2S = {"gpt2": (768, 12, 12), "gpt2-medium": (1024, 24, 16), "gpt2-large": (1280, 36, 20), "gpt2-xl": (1600, 48, 25)}
# width, layers, heads, vocabulary
PYTHIAS = {
    "70m": (512, 6, 8, 50304),
    "160m": (768, 12, 12, 50304),
    "410m": (1024, 24, 16, 50304),
    "1b": (2048, 16, 8, 50304),
    "1.4b": (2048, 24, 16, 50304),
    "2.8b": (2560, 32, 32, 50304),
    "6.9b": (4096, 32, 32, 50432),
    "12b": (5120, 36, 40, 50688),
}
# width, layers, heads, key-value heads, width of a head, width of the FFN, tied
LLAMAS = {
    "meta-llama/Llama-3.2-1B": (2048, 16, 32, 8, 64, 8192, True),
    "meta-llama/Llama-3.2-3B": (3072, 28, 24, 8, 128, 8192, True),
    "meta-llama/Llama-3.1-8B": (4096, 32, 32, 8, 128, 14336, False),
    "meta-llama/Llama-3.1-70B": (8192, 80, 64, 8, 128, 28672, False),
}
QWENS = {
    "0.6B": (1024, 28, 16, 8, 128, 3072, True),
    "1.7B": (2048, 28, 16, 8, 128, 6144, True),
    "4B": (2560, 36, 32, 8, 128, 9728, True),
    "8B": (4096, 36, 32, 8, 128, 12288, False),
    "14B": (5120, 40, 40, 8, 128, 17408, False),
    "32B": (5120, 64, 64, 8, 128, 25600, False),
}
GEMMAS = {"270m": (640, 18, 4, 1, 256, 2048), "1b-pt": (1152, 26, 4, 1, 256, 6912)}
OLMOS = {
    "0425-1B": (2048, 16, 16, 16, 8192),
    "1124-7B": (4096, 32, 32, 32, 11008),
    "1124-13B": (5120, 40, 40, 40, 13824),
    "0325-32B": (5120, 64, 40, 8, 27648),
}


def configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Id, and what its config.json says of sizes."""
    for size, (width, layers, heads) in OPTS.items():
        ffn = {"ffn_dim": 4 * width, "word_embed_proj_dim": width}
        shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        yield f"facebook/opt-{size}", {"model_type": "opt", **OPT, **shape, **ffn}
    for name, (width, layers, heads) in GPT2S.items():
        yield f"openai-community/{name}", {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads}
    for size, (width, layers, heads, vocabulary) in PYTHIAS.items():
        sizes = sized(width, layers, heads, vocab_size=vocabulary, intermediate_size=4 * width)
        more = {"max_position_embeddings": 2048, "tie_word_embeddings": False}
        yield f"EleutherAI/pythia-{size}", {"model_type": "gpt_neox", **sizes, **more}
    for name, (width, layers, heads, kv, head, ffn_width, tied) in LLAMAS.items():
        sizes = sized(width, layers, heads, kv=kv, head=head, intermediate_size=ffn_width, vocab_size=128256)
        more = {"max_position_embeddings": 131072, "tie_word_embeddings": tied}
        yield name, {"model_type": "llama", **sizes, **more}
    for size, (width, layers, heads, kv, head, ffn_width, tied) in QWENS.items():
        sizes = sized(width, layers, heads, kv=kv, head=head, intermediate_size=ffn_width, vocab_size=151936)
        more = {"max_position_embeddings": 40960, "tie_word_embeddings": tied}
        yield f"Qwen/Qwen3-{size}", {"model_type": "qwen3", **sizes, **more}
    for size, (width, layers, heads, kv, head, ffn_width) in GEMMAS.items():
        sizes = sized(width, layers, heads, kv=kv, head=head, intermediate_size=ffn_width, vocab_size=262144)
        yield f"google/gemma-3-{size}", {"model_type": "gemma3_text", "max_position_embeddings": 32768, **sizes}
    for name, (width, layers, heads, kv, ffn_width) in OLMOS.items():
        sizes = sized(width, layers, heads, kv=kv, intermediate_size=ffn_width, vocab_size=100352)
        more = {"max_position_embeddings": 4096, "tie_word_embeddings": False}
        yield f"allenai/OLMo-2-{name}", {"model_type": "olmo2", **sizes, **more}


def sized(width: int, layers: int, heads: int, *, kv: int | None = None, head: int | None = None, **more: Any) -> Any:
    """The names that most families give to their sizes."""
    found = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, **more}
    found |= {} if kv is None else {"num_key_value_heads": kv}
    return found | ({} if head is None else {"head_dim": head})


def shape(facts: dict[str, Any]) -> dict[str, Any]:
    """Counted on the meta device."""
    from transformers import AutoConfig

    from headscope.plan.shapes import shape_of

    return asdict(shape_of(AutoConfig.for_model(**facts)))


def main(*wanted: str) -> None:
    from headscope.plan.shapes import SHAPES

    found = {name: shape(facts) for name, facts in configurations() if not wanted or name in wanted}
    # gpt2 is what everybody calls openai-community/gpt2.
    found |= {name.removeprefix("openai-community/"): facts for name, facts in found.items() if "openai" in name}
    lines = ",\n".join(f'"{name}": {json.dumps(facts)}' for name, facts in found.items())
    text = "{\n" + lines + "\n}\n"
    if wanted:
        print(text)
    else:
        SHAPES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(*sys.argv[1:])
