"""Phrases that the project's public text does not use, each with what to write instead."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

PHRASES = {
    r"\b(?:is|are|was|were|be|been) told\b(?! apart)|\btold (?:at|where|with)\b": "report",
    r"\btells? (?:how|what|which|where)\b": "report",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bis no (?:trace|folder|image|spec|file|path|number|backend|operation|mapping|name|graph)\b": "is not a …",
    r"\b(?:hangs?|hung) on\b": "depend on",
    r"\b(?:is|are) taken off\b": "is subtracted",
    r"\ball the same\b": "still",
    r"\bwhoever\b": "anyone who",
    r"\botherwise than\b|\btogether otherwise\b": "differently from",
    r"\bcauses?, tried\b": "confirmed cause",
    r"\bbeyond measure\b": "infinite",
    r"\bwhat rounding may do\b": "rounding error",
    r"\bso far\b": "accumulated, until now",
    r"\bcannot hear\b|\b(?:is|are) heard\b|\b(?:alarms?|mistakes?|mutations?) rings?\b": "detected, undetected",
    r"\bnothing here writes\b": "no installed backend writes",
    r"\bdrawn anew\b|\bdraws? the (?:head|classifier) anew\b": "reinitialized",
    r"\b(?:weights|parameters) (?:are|is) drawn\b": "initialized at random",
    r"\bthe way that they have come\b": "the distance moved",
    r"\bspoil(?:t|ed|s)\b": "invalid",
    r"\bexotic\b": "unusual",
    r"\bmoot\b": "zero-gradient",
    r"\bdisturb(?:s|ed|ing|ance)?\b": "perturb",
    r"\bjitter(?:s|ed|ing)?\b": "with rounding noise",
    r"\bstands? (?:there|in (?:a|the|its)|for itself|beside|behind|below|as)\b": "is, has",
    r"\bis held to\b|\bare held to\b|\bholds (?:it|them|both|each) to\b": "compare with",
    r"\b(?:takes|take|took) away\b": "remove",
    r"\bof its own accord\b|\bhow so\b|\bnot a word\b": "plain words",
    r"\bmade anew\b|\bwrites? anew\b|\bcomputed anew\b|\binfers? \w+ anew\b|\banew\b": "again",
    r"\bper cent\b": "percent",
}
SPELLING = {
    r"\b\w*(?:normal|initial|optim|organ|recogn|summar|general|minim|maxim|serial|random|quant|vector|standard)is"
    r"(?:e|es|ed|er|ers|ing|ation|ations)\b": "-ize",
    r"\bcatalogues?\b": "catalog",
    r"\blicences?\b": "license",
    r"\bcolours?\b": "color",
    r"\bcentres?\b|\bcentred\b": "center",
    r"\bbehaviours?\b": "behavior",
    r"\bneighbours?\w*": "neighbor",
    r"\bgrey\b": "gray",
    r"\bartefacts?\b": "artifact",
    r"\bmodelling\b|\blabelled\b|\btravell\w+|\bcancelled\b": "one l",
    r"\banalys(?:e|es|ed|ing)\b": "analyze",
}
_PATTERNS = {re.compile(pattern, re.IGNORECASE): instead for pattern, instead in (PHRASES | SPELLING).items()}


def findings(text: str) -> Iterator[str]:
    """Each phrase of the text to avoid, with its line, and what to write instead."""
    for pattern, instead in _PATTERNS.items():
        for found in pattern.finditer(text):
            yield f"line {text.count(chr(10), 0, found.start()) + 1}: {found[0]!r} → {instead}"


def text_of_code(path: Path) -> str:
    """The comments, docstrings, other strings and names of a module, on the lines where they are.

    Names are split into words: ``is_told`` is found like "is told".
    """
    lines = [""] * (path.read_text("utf-8").count("\n") + 1)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in kinds or (token.type == tokenize.NAME and "_" in token.string):
                text = token.string.replace("_", " ") if token.type == tokenize.NAME else token.string
                for offset, line in enumerate(text.split("\n")):
                    lines[token.start[0] - 1 + offset] += f" {line}"
    return "\n".join(lines)
