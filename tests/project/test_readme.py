"""The README's badges and its table of extras hold what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib

from tests.docs.documents import ROOT, read, table

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_badges_are_true() -> None:
    badges = dict(re.findall(r"https://img\.shields\.io/badge/([a-z]+)-(\S+)-blue", read("README.md")))
    versions = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", text)]

    assert badges["license"].replace("--", "-") == PROJECT["license"]
    assert badges["python"] == f"{versions[0]}_to_{versions[-1]}"


def test_every_extra_is_listed() -> None:
    listed = [name for row in table("README.md", "extra", "for").rows for name in re.findall(r"`(\w+)`", row["extra"])]

    assert sorted(listed) == sorted(set(PROJECT["optional-dependencies"]) - {"all"})


def test_the_readme_warns_of_packages_for_gpus() -> None:
    text = read("README.md").partition("## First commands")[0]

    assert "several gigabytes" in text
    assert "--index-url https://download.pytorch.org/whl/cpu" in text
