"""Does a text compile? It goes to the TeX engine that is installed, in a folder of its own, under limits. Imported,
not run.

The text is a stranger's: TeX may run no command, read and write nothing but its own folder (`openin_any`,
`openout_any`: paranoid, TeX Live's words), and gets limits of time, memory and size of files.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from evaluation.generation.latex_quality import closed

ENGINES = ("pdflatex", "lualatex", "xelatex")
SECONDS, MEMORY_BYTES, FILE_BYTES = 30, 4 << 30, 64 << 20
# Errors that tell of what the preamble of the paper had, and this one has not.
UNKNOWN = re.compile(
    r"Undefined control sequence|Unicode character .* not set up|Environment .* undefined|File .* not found"
)
ERROR = re.compile(r"^! (?:LaTeX Error: )?(.*)$", re.MULTILINE)
ENVIRONMENT = re.compile(r"\\begin\{([A-Za-z]+)\*?\}")
KNOWN_ENVIRONMENTS = set(
    "abstract align alignat aligned alignedat array bmatrix Bmatrix cases center description displaymath document "
    "enumerate eqnarray equation figure flalign flushleft flushright gather gathered itemize list math matrix "
    "minipage multline pmatrix proof quotation quote smallmatrix split subarray subequations table tabular tabularx "
    "thebibliography titlepage verbatim verse vmatrix Vmatrix".split()
)


@dataclass(frozen=True)
class Compiled:
    """Whether a text compiled, and the first error that counts, as the engine tells it."""

    ok: bool
    error: str = ""


def find_engine(name: str | None) -> str | None:
    """The path of the engine that is asked for, else of the first that is installed; None if none is.

    Raises:
        UserError: the one that is asked for is not installed.
    """
    if name is not None:
        path = shutil.which(name)
        if path is None:
            raise UserError(f"--engine {name}: not installed; install it, or leave the option out")
        return path
    return next((path for engine in ENGINES if (path := shutil.which(engine))), None)


def document(text: str) -> str:
    """The text as a document: its open ends closed, what environments it names defined."""
    body = closed(text)
    names = sorted(set(ENVIRONMENT.findall(body)) - KNOWN_ENVIRONMENTS)
    theorems = "\n".join(rf"\newtheorem{{{name}}}{{{name.capitalize()}}}" for name in names)
    return (
        "\\documentclass{article}\n\\usepackage{amsmath,amssymb,amsthm}\n\\usepackage[draft]{graphicx}\n"
        f"{theorems}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )


def compile_text(text: str, engine: str) -> Compiled:
    """Compile a text; what its paper's own preamble would have defined is not counted against it."""
    with tempfile.TemporaryDirectory(prefix="compile-") as folder:
        Path(folder, "text.tex").write_text(document(text), encoding="utf-8", errors="replace")
        tex = [engine, "-no-shell-escape", "-interaction=nonstopmode", "text.tex"]
        command = ["/bin/sh", "-c", f'{_limits()}; exec "$@"', "sh", *tex]
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": folder,
            "TEXMFVAR": folder,
            "openin_any": "p",
            "openout_any": "p",
            "max_print_line": "1000",
        }
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Compiled(False, f"no end after {SECONDS} s")
        log = Path(folder, "text.log")
        if not log.exists():
            return Compiled(False, f"the engine ended with status {process.returncode} and no log")
        errors = ERROR.findall(log.read_text(encoding="utf-8", errors="replace"))
    counted = [error for error in errors if not UNKNOWN.search(error)]
    if counted:
        return Compiled(False, counted[0])
    if process.returncode not in (0, 1):  # 1: there were errors, and none of them counts
        return Compiled(False, f"the engine ended with status {process.returncode}")
    return Compiled(True)


def _limits() -> str:
    """Of the processor time (seconds), memory (KiB) and files (512 bytes), as a shell sets them for what it becomes."""
    return f"ulimit -t {SECONDS} && ulimit -v {MEMORY_BYTES // 1024} && ulimit -f {FILE_BYTES // 512}"
