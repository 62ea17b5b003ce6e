"""What a TeX file includes, put in its place: `\\input` and its family.

Used by `flatten.py` (data_prep/flatten.py shows the result) and by `main_file.py`, which asks what a file reaches.

| command | what stands in its place |
| --- | --- |
| `\\input{a}`, `\\input a`, `\\include`, `\\subfile`, `\\import{folder}{a}`, `\\subimport` and kin | the file |
| `\\InputIfFileExists{a}{then}{else}`, `\\IfFileExists` | the branch that TeX would take, and the file |
| `\\input` of a drawing (`.pdf_tex`, `.tikz`, `.pgf`, ..) | `\\includegraphics`, so that it counts as a picture |
| `\\input` of a `.bbl` | `\\bibliography`, so that it counts as one |
| `\\endinput` | nothing, and the rest of its file goes |
| `\\input` of a table of contents, an index, a format (`amstex`, `epsf`, `harvmac`) | nothing |

Where names are looked for: `\\input` beside the main file; below `\\import` and `\\subfile` also beside the file named.
Names may hold `\\jobname` and macros that the paper defines as plain strings (`\\newcommand{\\chapters}{text/ch}`).
`\\includeonly` is honoured: the files that it leaves out are not in the author's PDF either. A macro that includes its
argument (`\\newcommand{\\chap}[1]{\\input{ch/#1}}`) loses the `\\input`, and each call is followed by its file. An
`\\endinput` in a group (a definition) or a conditional (`\\ifx\\loaded\\relax\\endinput\\fi`) ends nothing: whether it
runs cannot be told here.

A file is included once: a cycle is cut, and a second `\\input` of the same file is dropped and counted (in papers it
is a separator or a slip, and repeated text harms training). One exception: a file included within a conditional, whose
outcome is not known yet, may come once more. Hence no bomb of inclusions can be built; the sum is limited too.
"""

from __future__ import annotations

import posixpath
from collections import Counter

from data_prep.archive.include_calls import ENDS_IN_WORD, MOVING, Call, CallReader, Frame, Inclusions, body_of
from data_prep.archive.tex_files import CLASS, SUPPORT_SUFFIXES, TEXT_SUFFIXES, PaperFiles
from data_prep.screening.reasons import Rejected

# Drawings written as TeX by other programs.
DRAWINGS = {
    ".pdf_tex",
    ".pdf_t",
    ".eps_t",
    ".ps_t",
    ".pdftex_t",
    ".pstex_t",
    ".pspdftex",
    ".eps_tex",
    ".svg_tex",
    ".tikz",
    ".pgf",
    ".tkz",
    ".eepic",
    ".pstex",
}
# What LaTeX and its companions write for themselves.
_WRITTEN = {".aux", ".toc", ".lof", ".lot", ".ind", ".idx", ".gls", ".nls", ".out", ".ent", ".xwm"}
# Formats and macro packages that plain TeX loads by \input: macros, no text, and the cleaner knows them by name.
_FORMATS = set(
    "amstex amssym mssymb epsf eplain harvmac lanlmac jytex phyzzx tcilatex xypic pictex psfig lamstex texdraw "
    "miniltx colordvi xyv2".split()
)


def include(files: PaperFiles, main: str, max_chars: int, seen: Counter[str] | None = None) -> Inclusions:
    """The text of `main` and of all that it includes, in order.

    Args:
        files: the paper.
        main: path of the file to begin with.
        max_chars: the most characters that the whole may have.
        seen: `Inclusions.seen` of what stands before this text; noted there as well.

    Raises:
        Rejected: `archive_too_large` if the whole exceeds `max_chars`.
    """
    return _Expansion(files, main, max_chars, Counter() if seen is None else seen).run()


class _Expansion(CallReader):
    """The text put together: what each command does."""

    def run(self) -> Inclusions:
        self.seen[self.main] = 2
        self._push(Frame(self.main, self.files.text(self.main), self.root))
        while self.stack:
            frame = self.stack[-1]
            call = self._next_call(frame)
            self._write(frame.text[frame.position : call.start if call else len(frame.text)])
            if call:
                frame.position = call.end
                self._follow(call, frame)
            else:
                self.stack.pop()
                self.open[frame.path] -= 1
                self._write(frame.after)
        self.result.text = "".join(self.parts)
        return self.result

    def _push(self, frame: Frame) -> None:
        self.open[frame.path] += 1
        self.stack.append(frame)

    def _write(self, text: str) -> None:
        if text:
            if self.parts and text[0].isalpha() and ENDS_IN_WORD.search(self.parts[-1][-40:]):
                self.parts.append(" ")  # `\iflong\input{a}` must not become `\iflongWords of a`
            self.parts.append(text)
            self.total += len(text)
            if self.total > self.max_chars:
                limit = f"data.max_file_bytes {self.max_chars}"
                raise Rejected("archive_too_large", f"included files exceed {limit} from {self.main}")

    # -----------------------------------------------------------------------------------------------------------------
    # what a command does

    def _follow(self, call: Call, frame: Frame) -> None:
        if call.written:
            self._write(frame.text[call.start : call.end])
            self._read_branch(call.written, frame, frame.in_conditional(call.start))
        if not call.command:
            return
        if call.command == "includeonly":
            if not frame.in_conditional(call.start):
                self.only = {posixpath.normpath(self._resolved(name)) for name in call.name.split(",")}
            return
        suffix = posixpath.splitext(call.name)[1].lower()
        path = self._find(call, frame)
        if call.command == "IfFileExists":
            # Other files than TeX's are not looked at: the author had them.
            there = path is not None or suffix not in TEXT_SUFFIXES
            self._read_branch(call.branches[not there], frame, frame.in_conditional(call.start))
            return
        if path is None and call.command == "InputIfFileExists":
            self._read_branch(call.branches[1], frame, frame.in_conditional(call.start))
            return
        counters = self.result.counters
        if suffix in DRAWINGS:
            counters["input_of_drawing"] += 1
            self._write(f"\\includegraphics{{{call.name}}}")
        elif suffix == ".bbl":
            counters["input_of_bibliography"] += 1
            self._write(f"\\bibliography{{{call.name[:-4]}}}")
        elif suffix in _WRITTEN or call.name.lower().removesuffix(".tex") in _FORMATS:
            counters["input_of_format"] += 1
        elif path is None:
            if suffix not in SUPPORT_SUFFIXES:
                counters["input_missing"] += 1
                self.result.missing.append(call.name)
        elif call.command == "include" and self.only is not None and not self._is_listed(call.name):
            counters["include_excluded"] += 1
        elif self.open[path]:
            counters["input_cycle"] += 1
        elif self.seen[path] and not (self.seen[path] == 1 and frame.in_conditional(call.start)):
            counters["input_repeated"] += 1
        else:
            self._enter(path, call, frame)

    def _find(self, call: Call, frame: Frame) -> str | None:
        folders = [frame.folder, self.root, ""]
        if call.folder:
            folders = [posixpath.join(folder, call.folder) for folder in folders]
        if call.command in ("import", "inputfrom", "includefrom"):  # their folder is the main file's
            folders[:2] = folders[1::-1]
        return self.files.find(call.name, folders)

    def _is_listed(self, name: str) -> bool:
        return self.only is not None and posixpath.normpath(name).removesuffix(".tex") in self.only

    def _enter(self, path: str, call: Call, frame: Frame) -> None:
        # Twice in all, wherever: only within conditionals may a file come again.
        conditional = frame.in_conditional(call.start)
        if not self.seen[path]:
            self.result.included.append(path)
        self.seen[path] += 1 if conditional else 2
        moves = call.command in MOVING or call.command.startswith("subfile")
        text = self.files.text(path)
        text = body_of(text) if self._is_document_open() else text
        breaks = "\n\n" if call.command == "include" else ""
        self._write(breaks)
        after = breaks or ("" if text.endswith("\n") else "\n")
        folder = posixpath.dirname(path) if moves else frame.folder
        self._push(Frame(path, text, folder, after, conditional))
        if call.branches[0]:
            self._read_branch(call.branches[0], frame, conditional)

    def _is_document_open(self) -> bool:
        """Whether a class has been read already: then another document contributes its body alone."""
        while not self.class_seen and self.class_read < len(self.parts):
            self.class_seen = CLASS.search(self.parts[self.class_read]) is not None
            self.class_read += 1
        return self.class_seen

    def _read_branch(self, text: str, frame: Frame, conditional: bool) -> None:
        """Read what a command stands for where it stood, looking for files as its frame does."""
        self.stack.append(Frame("", text, frame.folder, "", conditional, branches=frame.branches + 1))
