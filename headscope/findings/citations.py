"""What a paper that uses a run should cite, as BibTeX: headscope, the study it follows, the papers its scores are from.

The papers are those that the method names; which of them a run needs follows from the scores and stages it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headscope.store.run import Run


@dataclass(frozen=True)
class Paper:
    """An entry of a bibliography; `fields` are pairs, in order."""

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    @property
    def bibtex(self) -> str:
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def _paper(key: str, authors: str, title: str, year: int, arxiv: str = "", **more: str) -> Paper:
    """A paper; where it stands on arXiv alone it is a `misc` with its number there."""
    kind = "inproceedings" if "booktitle" in more else "article" if "journal" in more else "misc"
    number = {"eprint": arxiv, "archiveprefix": "arXiv"} if arxiv else {}
    fields = {"author": authors, "title": title, "year": str(year), **more, **number}
    return Paper(key, kind, tuple(fields.items()))


HEADSCOPE = "headscope"
BANSAL = _paper(
    "bansal2023rethinking",
    "Bansal, Hritik and Gopalakrishnan, Karthik and Dingliwal, Saket and Bodapati, Sravan and Kirchhoff, Katrin and "
    "Roth, Dan",
    "Rethinking the Role of Scale for In-Context Learning: An Interpretability-based Case Study at 66 Billion Scale",
    2023,
    "2212.09095",
    booktitle="Proceedings of the 61st Annual Meeting of the Association for Computational Linguistics "
    "(Volume 1: Long Papers)",
    doi="10.18653/v1/2023.acl-long.660",
)
OLSSON = _paper(
    "olsson2022context",
    "Olsson, Catherine and Elhage, Nelson and Nanda, Neel and others",
    "In-context Learning and Induction Heads",
    2022,
    "2209.11895",
)
ELHAGE = _paper(
    "elhage2021mathematical",
    "Elhage, Nelson and Nanda, Neel and Olsson, Catherine and others",
    "A Mathematical Framework for Transformer Circuits",
    2021,
    journal="Transformer Circuits Thread",
    url="https://transformer-circuits.pub/2021/framework/index.html",
)
MICHEL = _paper(
    "michel2019sixteen",
    "Michel, Paul and Levy, Omer and Neubig, Graham",
    "Are Sixteen Heads Really Better than One?",
    2019,
    "1905.10650",
)
WU = _paper(
    "wu2024retrieval",
    "Wu, Wenhao and Wang, Yizhong and Xiao, Guangxuan and Peng, Hao and Fu, Yao",
    "Retrieval Head Mechanistically Explains Long-Context Factuality",
    2024,
    "2404.15574",
)
FEUCHT = _paper(
    "feucht2025dual",
    "Feucht, Sheridan and Todd, Eric and Wallace, Byron and Bau, David",
    "The Dual-Route Model of Induction",
    2025,
    "2504.03022",
)
TODD = _paper(
    "todd2024function",
    "Todd, Eric and Li, Millicent L. and Sen Sharma, Arnab and Mueller, Aaron and Wallace, Byron C. and Bau, David",
    "Function Vectors in Large Language Models",
    2024,
    "2310.15213",
)
YIN = _paper(
    "yin2025which",
    "Yin, Kayo and Steinhardt, Jacob",
    "Which Attention Heads Matter for In-Context Learning?",
    2025,
    "2502.14010",
)
YANG = _paper(
    "yang2025localizing",
    "Yang, Haolin and Cho, Hakaze and Inoue, Naoya",
    "Localizing Task Recognition and Task Learning in In-Context Learning via Attention Head Analysis",
    2025,
    "2509.24164",
)
# score: the papers it follows
SOURCES: dict[str, tuple[Paper, ...]] = {
    "prefix_matching": (OLSSON, BANSAL),
    "copying": (OLSSON, BANSAL),
    "ov_copying": (ELHAGE,),
    "previous_token": (OLSSON,),
    "duplicate_token": (OLSSON,),
    "retrieval": (WU,),
    "concept_induction": (FEUCHT,),
    "token_induction": (FEUCHT,),
    "importance": (MICHEL, BANSAL),
    "knock_out": (BANSAL,),
    "fv": (TODD, YIN),
    "fv_prob": (TODD,),
    "tr": (YANG,),
    "tr_share": (YANG,),
    "tl": (YANG,),
}


def cited(run: Run) -> Iterator[Paper]:
    """The program, the study that it follows, then the papers of the scores that the run holds, as in `SOURCES`."""
    yield from (program(run), BANSAL)
    held = {*run.head_scores["score"], *run.ffn_scores["score"]}
    papers = dict.fromkeys(paper for score, papers in SOURCES.items() if score in held for paper in papers)
    yield from (paper for paper in papers if paper is not BANSAL)


def program(run: Run) -> Paper:
    """headscope, in the version that ran last."""
    version = next((stage.versions[HEADSCOPE] for stage in reversed(run.stages) if HEADSCOPE in stage.versions), "")
    used = run.stages[-1].started[:4] if run.stages else ""  # no year of a release is known here
    named = {name: value for name, value in {"version": version, "note": used and f"used in {used}"}.items() if value}
    fields = {"author": "{headscope contributors}", "title": HEADSCOPE, **named, "license": "Apache-2.0"}
    return Paper(HEADSCOPE, "software", tuple(fields.items()))


def bibliography(run: Run) -> str:
    """All entries, a blank line between them."""
    return "\n\n".join(paper.bibtex for paper in cited(run)) + "\n"
