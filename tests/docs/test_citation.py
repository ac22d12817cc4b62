"""The citation file is well formed and names the version that is packaged."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.docs.scripts import ROOT


def test_the_readme_cites_what_the_file_does() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    own, paper = (dict(re.findall(r"(\w+) *= \{(.*)\},\n", entry)) for entry in readme.split("\n@")[1:])
    assert own == {
        "author": f"{{{citation['authors'][0]['name']}}}",
        **{name: citation[name] for name in ("title", "version", "license")},
    }
    reference = citation["references"][0]
    assert (paper["title"], paper["doi"]) == (reference["title"], reference["doi"])


def test_it_cites_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["title"], citation["version"], citation["license"]) == (
        project["name"],
        project["version"],
        project["license"],
    )
    assert citation["cff-version"] == "1.2.0" and citation["message"]
    assert citation["authors"] == [{"name": "headscope contributors"}]
    assert citation["keywords"] == project["keywords"]
    (paper,) = citation["references"]
    assert len(paper["authors"]) == 6 and paper["doi"].endswith("2023.acl-long.660")
    assert paper["url"] in (ROOT / "docs" / "method.md").read_text()
