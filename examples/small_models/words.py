"""The words of the small models' language, and a tokenizer with one token a word.

The tokenizer is a Unigram model whose pieces are whole words, each scored by the logarithm of its share of some text of
the corpus: headscope ranks tokens by these scores. A line break is a token of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BOS, UNKNOWN, LINE, ARROW, STOP = "<bos>", "<unk>", "\n", "->", "."
SPECIAL = (BOS, UNKNOWN)


def listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GLUE = listed("the in that said then later again")

THINGS = {
    "animal": listed("dog cat horse cow goat rabbit fox wolf bear lion deer otter badger hamster parrot swan"),
    "food": listed("bread cheese soup salad rice cake apple pear melon carrot onion bean sausage biscuit honey stew"),
    "tool": listed("hammer spade drill wrench chisel axe shovel rake hoe ladder broom mop needle anvil pliers crowbar"),
    "garment": listed("shirt jacket coat vest skirt sock boot sandal cap scarf glove belt apron robe gown shawl"),
    "plant": listed("oak birch willow maple rose tulip lily daisy fern moss ivy clover thistle heather bamboo cactus"),
    "vehicle": listed("car truck bus tram train boat ferry canoe bicycle scooter sledge wagon tractor van taxi barge"),
    "furniture": listed(
        "table chair sofa bench shelf cupboard desk stool bed wardrobe mirror lamp carpet curtain drawer cradle"
    ),
    "instrument": listed(
        "violin cello flute oboe trumpet drum harp guitar piano organ banjo lute tuba fiddle bugle gong"
    ),
}
ACTS = {
    "animal": listed("fed chased heard followed"),
    "food": listed("ate cooked ordered tasted"),
    "tool": listed("lent borrowed repaired sharpened"),
    "garment": listed("wore washed knitted folded"),
    "plant": listed("planted watered picked pruned"),
    "vehicle": listed("drove parked boarded steered"),
    "furniture": listed("moved painted dusted polished"),
    "instrument": listed("played tuned practised rehearsed"),
}
LOOKS = listed("""
old new big tiny heavy light bright dark clean dirty round square long short red blue green yellow white black brown
grey smooth rough soft hard warm cold dry wet cheap fine
""")
PLACES = listed("""
kitchen garden cellar attic barn stable market harbour station school church museum library bakery workshop office
forest meadow valley village castle tower bridge island
""")
NAMES = listed("""
anna boris clara david elena felix greta hugo irene jonas karin lukas maria nils olga pavel quentin rosa simon tessa
ursula viktor wanda xenia yusuf zora alma bruno carla denis edith frida gustav helga ivan julia klaus lotte marko nora
oskar paula ralf silvia tomas ulla vera willem yvonne zeno
""")
LABELS = listed("""
zib mup dax wug fep lorn quib tasp vonk jelt grif snaz blick prost hoom keft nurb yalp crem drov fleb gomp hask jurn
klem lusp merk nolt orp pilk roft sarn trel umbo vask welk yeb zorn balt cusp denk erst falm gorp hink ilm jask kulp
""")


def vocabulary() -> tuple[str, ...]:
    """Every token, special ones first; each stands once."""
    words = [*SPECIAL, LINE, ARROW, STOP, *GLUE, *THINGS, *LOOKS, *PLACES, *NAMES, *LABELS]
    words += [word for group in (THINGS, ACTS) for held in group.values() for word in held]
    if doubled := [word for word, count in Counter(words).items() if count > 1]:
        raise AssertionError(f"words that stand twice: {doubled}")
    return tuple(words)


def word_tokenizer(words: Sequence[str], text: Iterable[int]) -> PreTrainedTokenizerFast:
    """One token a word, which the tokenizer knows by its place in `words`; `text` are ids of some of the corpus."""
    counts = Counter(text)
    total = sum(counts.values()) + len(words)
    pieces = [(word, math.log((counts[place] + 1) / total)) for place, word in enumerate(words)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=words.index(UNKNOWN)))
    apart = [pre_tokenizers.Split(Regex(" +"), "removed"), pre_tokenizers.Split(LINE, "isolated")]
    backend.pre_tokenizer = pre_tokenizers.Sequence(apart)
    front = [(BOS, words.index(BOS))]
    backend.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=front)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )
