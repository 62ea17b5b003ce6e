r"""Papers written by a grammar: sections of definitions, lemmas, theorems, proofs, remarks and displayed formulas.

`write_paper(rng)` gives a `Paper` of plausible English and balanced LaTeX; the same generator state gives the same text
on every machine. `tools/make_sample_corpus.py` packs such papers the way arXiv ships them. Nothing here is
mathematics to rely on: it is text with the shape, the vocabulary and the notation of mathematics.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tools.sample.vocabulary import Field, Rules, fields, shared_rules

T = TypeVar("T")
SLOT = re.compile(r"«([a-zA-Z]+)»")
MAX_DEPTH = 6  # of nested rules; beyond it the first production of a rule is taken

ENVIRONMENTS = {
    "theorem": "Theorem",
    "lemma": "Lemma",
    "proposition": "Proposition",
    "corollary": "Corollary",
    "definition": "Definition",
    "remark": "Remark",
    "example": "Example",
}


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of `options`; from `random()` alone, whose sequence Python guarantees between versions."""
    return options[int(rng.random() * len(options))]


def pick_shared(rng: random.Random, rule: str) -> str:
    """A production of a rule that all fields share."""
    return pick(rng, shared_rules()[rule])


def between(rng: random.Random, low: int, high: int) -> int:
    """A whole number in [low, high]."""
    return low + int(rng.random() * (high - low + 1))


def surname(rng: random.Random) -> str:
    middle = pick_shared(rng, "middle") if rng.random() < 0.7 else ""
    return pick_shared(rng, "onset") + middle + pick_shared(rng, "ending")


def plural(noun: str) -> str:
    """English plural of a noun phrase whose last word is its head."""
    if noun.endswith(("ex", "ix")) and noun.split()[-1] in ("vertex", "matrix", "simplex"):
        return noun[:-2] + "ices"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("series", "homology", "spacetimes")):
        return noun
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def tidy(text: str) -> str:
    """Articles after their words are known: `a(n) open set` -> `an open set`."""

    def article(match: re.Match[str]) -> str:
        word = re.sub(r"^\\emph\{", "", match[2])
        sounds_like_vowel = re.match(r"[aeioAEIO]|L-|un(?!i)|ul", word)
        return f"{match[1]}{'n' if sounds_like_vowel else ''} {match[2]}"

    return re.sub(r"\b([Aa])\(n\) (\S+)", article, text)


class Writer:
    """Expands rules for one paper: its field's words, its own notation, its labels and references."""

    def __init__(self, rng: random.Random, subject: Field) -> None:
        self.rng = rng
        self.labels: list[tuple[str, str]] = []  # (environment, label)
        self.names = [surname(rng) for _ in range(between(rng, 5, 12))]
        self.keys = [
            f"{pick(rng, self.names)}{between(rng, 1962, 2024)}".replace("'", "") for _ in range(between(rng, 5, 14))
        ]
        self.keys = list(dict.fromkeys(self.keys))
        self.rules: Rules = shared_rules() | subject.rules
        # A paper keeps its notation and its favourite words from beginning to end.
        for symbol in ("A", "B", "x", "y", "f"):
            self.rules[symbol] = [pick(rng, subject.rules[symbol])]
        self.rules |= {
            "n": [pick(rng, ["n", "m", "N", "r"])],
            "k": [pick(rng, ["k", "j", "d", "l"])],
            "i": [pick(rng, ["i", "j", "s"])],
            "c": [pick(rng, ["c", "C", "C_0", "c_1"])],
            "field": [subject.name],
            "other": [other.name for other in fields() if other.name != subject.name],
            "name": self.names,
            "cite": self.keys,
            "fresh": [self.expand("«prefix»«stem»") for _ in range(3)],
            "kind": [self.expand(form) for form in ("«obj»", "«cong» «obj»", "«prop» «obj»", "«obj»")],
        }
        for rule in ("obj", "part", "prop", "inv", "mapn", "topic"):
            options = self.rules[rule]
            self.rules[rule] = [pick(rng, options) for _ in range(3)] + options

    def expand(self, text: str, depth: int = 0) -> str:
        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if name == "ref":
                return self.reference()
            rule = name if name in self.rules else name[0].lower() + name[1:]
            options = self.rules[rule]
            value = self.expand(options[0] if depth >= MAX_DEPTH else pick(self.rng, options), depth + 1)
            return value if rule == name else value[:1].upper() + value[1:]

        def fill_plural(match: re.Match[str]) -> str:
            name = match[1]
            value = plural(self.expand(f"«{name[0].lower() + name[1:]}»", depth + 1))
            return value if name[0].islower() else value[:1].upper() + value[1:]

        return SLOT.sub(fill, re.sub(r"«([a-zA-Z]+)\+s»", fill_plural, text))

    def say(self, rule: str) -> str:
        text = tidy(self.expand(pick(self.rng, self.rules[rule])))
        return re.sub(r", (Hence|Therefore|Consequently|Thus|It|We|In)\b", lambda m: ", " + m[1].lower(), text)

    def reference(self) -> str:
        if not self.labels or self.rng.random() < 0.15:
            place = f"{pick(self.rng, ['Theorem', 'Lemma', 'Section'])}~{between(self.rng, 1, 6)}"
            return f"\\cite[{place}]{{{pick(self.rng, self.keys)}}}"
        kind, label = pick(self.rng, self.labels[-8:])
        return f"\\eqref{{{label}}}" if kind == "equation" else f"{ENVIRONMENTS[kind]}~\\ref{{{label}}}"

    def label(self, kind: str) -> str:
        name = pick_shared(self.rng, "middle") + pick_shared(self.rng, "ending")
        label = f"{kind[:3]}:{name}{len(self.labels)}"
        self.labels.append((kind, label))
        return label

    def display(self) -> str:
        """A displayed formula: one line, aligned lines, cases or a matrix."""
        choice = self.rng.random()
        first = self.expand("«long»") if self.rng.random() < 0.55 else self.expand("«invsym» «rel» «expr» + «expr»")
        if choice < 0.30:
            return f"\\[\n  {first}.\n\\]"
        if choice < 0.55:
            return f"\\begin{{equation}}\\label{{{self.label('equation')}}}\n  {first}.\n\\end{{equation}}"
        if choice < 0.62:
            return f"$$ {first}. $$"
        if choice < 0.85:
            lines = [self.expand("«invsym» &= «expr»")]
            lines += [
                self.expand(f"  &{pick(self.rng, ['=', chr(92) + 'leq', '='])} «expr» + «expr»")
                for _ in range(between(self.rng, 1, 3))
            ]
            return "\\begin{align*}\n  " + " \\\\\n  ".join(lines) + ".\n\\end{align*}"
        if choice < 0.93:
            return (
                "\\[\n"
                + self.expand(
                    "  «f»(«x») = \\begin{cases} «expr» & \\text{if } «fact», \\\\ «expr» & "
                    "\\text{otherwise.} \\end{cases}"
                )
                + "\n\\]"
            )
        rows = " \\\\ ".join(self.expand("«atom» & «atom» & «num»") for _ in range(3))
        return self.expand(
            f"\\[\n  M_{{«n»}} = \\begin{{pmatrix}} {rows} \\end{{pmatrix}}, \\qquad \\det M_{{«n»}} «rel» «expr».\n\\]"
        )

    def paragraph(self, rule: str, low: int, high: int) -> str:
        seen: list[str] = []
        for _ in range(between(self.rng, low, high)):
            sentence = self.say(rule)
            if sentence not in seen:
                seen.append(sentence)
        return " ".join(seen)

    def environment(self, kind: str, body: str) -> str:
        return f"\\begin{{{kind}}}\\label{{{self.label(kind)}}}\n{body}\n\\end{{{kind}}}"

    def proof(self) -> str:
        parts = []
        for _ in range(between(self.rng, 1, 3)):
            parts.append(self.paragraph("step", 2, 4))
            if self.rng.random() < 0.7:
                parts.append(self.display())
        parts.append(self.paragraph("step", 1, 2) + (" This completes the proof." if self.rng.random() < 0.4 else ""))
        return "\\begin{proof}\n" + "\n".join(parts) + "\n\\end{proof}"

    def block(self) -> str:
        choice = self.rng.random()
        if choice < 0.18:
            return self.environment("definition", self.say("define"))
        if choice < 0.62:
            kind = pick(self.rng, ["theorem", "lemma", "lemma", "proposition", "corollary"])
            body = self.say("claim")
            if self.rng.random() < 0.3:
                body += "\n" + self.display()
            return self.environment(kind, body) + "\n\n" + self.proof()
        if choice < 0.72:
            return self.environment("remark", self.say("remark"))
        if choice < 0.82:
            return self.environment("example", self.paragraph("example", 1, 2))
        if choice < 0.86:
            items = "\n".join(f"  \\item {self.say('claim')}" for _ in range(between(self.rng, 2, 4)))
            return f"{self.say('intro')}\n\\begin{{enumerate}}\n{items}\n\\end{{enumerate}}"
        return self.paragraph("intro", 2, 4) + "\n" + self.display()

    def section(self, title: str, blocks: int) -> str:
        label = f"sec:{re.sub('[^a-z]', '', title.lower())[:12]}{len(self.labels)}"
        parts = [f"\\section{{{title}}}\n\\label{{{label}}}"]
        if self.rng.random() < 0.7:
            parts.append(self.paragraph("intro", 1, 3))
        if self.rng.random() < 0.4:
            parts.append(f"% TODO: {self.say('caption')} Check with 100\\% care")
        for number in range(blocks):
            if number == 2 and blocks > 4:
                parts.append(f"\\subsection{{{tidy(self.expand(pick_shared(self.rng, 'section')))}}}")
            parts.append(self.block())
        if self.rng.random() < 0.2:
            parts.append(self.figure() if self.rng.random() < 0.5 else self.table())
        return "\n\n".join(parts)

    def figure(self) -> str:
        return (
            "\\begin{figure}[ht]\n  \\centering\n  \\includegraphics[width=0.6\\textwidth]{fig1}\n"
            f"  \\caption{{{self.say('caption')}}}\n\\end{{figure}}"
        )

    def table(self) -> str:
        rows = " \\\\\n".join(
            "  " + " & ".join(str(between(self.rng, 1, 999)) for _ in range(4)) for _ in range(between(self.rng, 3, 6))
        )
        return (
            f"\\begin{{table}}[ht]\n  \\caption{{{self.say('caption')}}}\n  \\begin{{tabular}}{{rrrr}}\n"
            f"{rows}\n  \\end{{tabular}}\n\\end{{table}}"
        )

    def bibliography(self) -> str:
        items = []
        for key in self.keys:
            author = re.sub(r"\d+$", "", key)
            year, volume, page = key[len(author) :], between(self.rng, 3, 140), between(self.rng, 1, 900)
            items.append(
                f"\\bibitem{{{key}}}\n{pick_shared(self.rng, 'given')[0]}.~{author}, \\emph{{{self.say('title')}}},\n"
                f"{pick_shared(self.rng, 'journal')} \\textbf{{{volume}}} ({year}), "
                f"{page}--{page + between(self.rng, 8, 40)}."
            )
        return "\\begin{thebibliography}{99}\n\n" + "\n\n".join(items) + "\n\n\\end{thebibliography}\n"


@dataclass
class Paper:
    """One generated paper, in parts, so that it can be packed as one file or as several."""

    title: str
    authors: list[str]
    abstract: str
    categories: str
    preamble: str
    sections: list[str] = field(default_factory=list)
    bibliography: str = ""

    def front(self) -> str:
        authors = " \\and ".join(self.authors)
        return (
            f"\\title{{{self.title}}}\n\\author{{{authors}}}\n\\begin{{document}}\n"
            f"\\begin{{abstract}}\n{self.abstract}\n\\end{{abstract}}\n\\maketitle\n"
        )

    def single_file(self) -> str:
        body = "\n\n".join(self.sections)
        return f"{self.preamble}{self.front()}\n{body}\n\n{self.bibliography}\\end{{document}}\n"

    def several_files(self, folder: str, bbl: str) -> dict[str, str]:
        """main.tex, one file per section under `folder`, and the bibliography as `bbl`."""
        prefix = f"{folder}/" if folder else ""
        files = {f"{prefix}sec{i}.tex": section + "\n" for i, section in enumerate(self.sections, 1)}
        inputs = "\n".join(f"\\input{{{name.removesuffix('.tex')}}}" for name in files)
        stem = bbl.removesuffix(".bbl")
        end = f"\\bibliographystyle{{plain}}\n\\bibliography{{{stem}}}\n\\end{{document}}\n"
        return {f"{stem}.tex": f"{self.preamble}{self.front()}\n{inputs}\n\n{end}", **files, bbl: self.bibliography}


# Each paper defines some of its own commands; the text then uses them in place of the long form.
MACROS = {
    r"\mathbb{R}": ("\\R", r"\newcommand{\R}{\mathbb{R}}"),
    r"\mathbb{Z}": ("\\ZZ", r"\newcommand{\ZZ}{\mathbb{Z}}"),
    r"\mathbb{E}": ("\\E", r"\DeclareMathOperator{\E}{\mathbb{E}}"),
    r"\varepsilon": ("\\eps", r"\newcommand{\eps}{\varepsilon}"),
    r"\mathcal{L}": ("\\cL", r"\def\cL{\mathcal{L}}"),
    r"\mathcal{O}": ("\\cO", r"\newcommand\cO{\mathcal{O}}"),
    r"\operatorname": ("\\op", r"\newcommand{\op}[1]{\operatorname{#1}}"),
}


def preamble(rng: random.Random, old: bool) -> tuple[str, list[tuple[str, str]]]:
    """The text before `\\title`, and the (long form, command) pairs that it defines."""
    chosen = [(long, *pair) for long, pair in MACROS.items() if rng.random() < 0.35]
    if old:
        lines = ["\\documentstyle[12pt,amssymb]{article}"]
    else:
        option = pick(rng, ["11pt", "12pt", "a4paper", "reqno"])
        lines = [f"\\documentclass[{option}]{{{pick(rng, ['article', 'amsart', 'article'])}}}"]
    if not old:
        lines.append("\\usepackage{amsmath,amssymb,amsthm}")
        lines += [f"\\usepackage{{{name}}}" for name in ("graphicx", "hyperref", "mathrsfs") if rng.random() < 0.5]
    lines.append("% notation used throughout")
    lines += [f"\\newtheorem{{{kind}}}{{{name}}}" for kind, name in ENVIRONMENTS.items()]
    lines += ["\\newcommand{\\norm}[1]{\\left\\lVert #1 \\right\\rVert}", "\\newcommand{\\abs}[1]{\\left| #1 \\right|}"]
    lines += [definition for _, _, definition in chosen]
    return "\n".join(lines) + "\n", [(long, command) for long, command, _ in chosen]


def use_macros(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """`text` with the paper's own commands; a letter that follows one is kept apart from it."""
    for long, command in pairs:
        text = re.sub(re.escape(long) + r"(?![a-zA-Z])", lambda _, c=command: c, text)  # type: ignore[misc]
    return text


def write_paper(rng: random.Random, old: bool = False, scale: float = 1.0) -> Paper:
    """A paper in a random field; `old` writes the LaTeX of the nineties, `scale` multiplies its length."""
    subject = pick(rng, fields())
    writer = Writer(rng, subject)
    header, pairs = preamble(rng, old)
    title = writer.say("title")
    abstract = writer.paragraph("abstract", 3, 6)
    # Lengths are skewed, as in the archive: many short papers, some long ones.
    blocks = max(2, int(scale * 6 * (0.35 + 2.4 * rng.random() ** 2.2)))
    sections = [writer.section("Introduction", 1)]
    while blocks > 0:
        size = min(blocks, between(rng, 2, 6))
        sections.append(writer.section(tidy(writer.expand(pick_shared(rng, "section"))), size))
        blocks -= size
    if rng.random() < 0.3:
        sections[-1] += (
            f"\n\n\\section*{{Acknowledgements}}\nThe author thanks {pick(rng, writer.names)} for helpful comments."
        )
    authors = [f"{pick_shared(rng, 'given')} {surname(rng)}" for _ in range(between(rng, 1, 4))]
    return Paper(
        title=title,
        authors=authors,
        abstract=abstract,
        categories=pick(rng, subject.categories),
        preamble=header,
        sections=[use_macros(section, pairs) for section in sections],
        bibliography=writer.bibliography(),
    )
