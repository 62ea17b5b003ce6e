"""The house's rules: imports run one way, no circle, commands at the top alone, small folders and files."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.paths import ROOT

# Each imports itself and those before it, in whatever place of the code: lazy imports and those for types count too.
LAYERS = ("common", "reports", "data_prep", "tokenizer", "training", "evaluation")
RULE = " <- ".join(LAYERS)
# A person types what lies at the top of these, and nothing else lies there.
COMMAND_FOLDERS = ("data_prep", "tokenizer", "evaluation")
MAX_MODULES, MAX_LINES = 15, 450


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Python files that git knows, by path below the project's root."""
    command = ["git", "ls-files", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return tuple(path for line in listed.stdout.splitlines() if (ROOT / (path := Path(line))).is_file())


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in tracked()}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module of this project) of each import, wherever it stands."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import; write the package's name"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else str(node.module) for name in whole]
        else:
            continue
        for name in names:
            if name in modules() or name.split(".")[0] in LAYERS:
                yield node.lineno, name


def is_command(path: Path) -> bool:
    """Whether a person types it: it acts when run, at the top of the project or of a folder of commands."""
    return acts(path) and (len(path.parts) == 1 or (len(path.parts) == 2 and path.parts[0] in COMMAND_FOLDERS))


def acts(path: Path) -> bool:
    return any(isinstance(node, ast.If) and "'__main__'" in ast.unparse(node.test) for node in tree_of(path).body)


def in_layers() -> list[Path]:
    return [path for path in tracked() if path.parts[0] in LAYERS]


def test_imports_run_one_way():
    wrong = [
        f"{path}:{line} imports {name}; imports run one way: {RULE}"
        for path in in_layers()
        for line, name in imports(path)
        if (layer := name.split(".")[0]) not in LAYERS or LAYERS.index(layer) > LAYERS.index(path.parts[0])
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_way_of_others():
    graph = {module_of(path): {name for _, name in imports(path)} for path in in_layers()}
    state: dict[str, str] = {}
    circles: list[str] = []

    def visit(module: str, way: list[str]) -> None:
        state[module] = "open"
        for other in sorted(graph.get(module, ())):
            if state.get(other) == "open" and other in [*way, module]:
                circle = [*way, module]
                circles.append(" -> ".join([*circle[circle.index(other) :], other]))
            elif other not in state:
                visit(other, [*way, module])
        state[module] = "done"

    for module in sorted(graph):
        if module not in state:
            visit(module, [])
    assert not circles, "circles of imports:\n" + "\n".join(circles)


def test_nothing_imports_a_command():
    commands = {module_of(path) for path in tracked() if is_command(path)}
    wrong = [
        f"{path}:{line} imports the command {name}; what both need belongs into a subfolder"
        for path in in_layers()
        for line, name in imports(path)
        if name in commands
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", COMMAND_FOLDERS)
def test_the_top_holds_commands_only(folder):
    top = [path for path in tracked() if path.parent == Path(folder) and path.name != "__init__.py"]
    assert [str(path) for path in top if not acts(path)] == []


def test_only_commands_act_and_set_the_path():
    """The two lines by which a command finds its own checkout stand in commands, tools and benchmarks alone."""
    wrong = [
        str(path)
        for path in in_layers()
        if not is_command(path) and (acts(path) or "sys.path" in (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not wrong, f"library modules that run, or change sys.path: {wrong}"


def test_folders_are_small():
    count = Counter(str(path.parent) for path in tracked() if path.name != "__init__.py")
    assert {folder: number for folder, number in count.items() if number > MAX_MODULES} == {}


def test_files_are_short():
    lines = {str(path): len((ROOT / path).read_bytes().splitlines()) for path in tracked()}
    assert {path: number for path, number in lines.items() if number > MAX_LINES} == {}


def test_packages_say_nothing_themselves():
    """What an `__init__.py` imports, everything in its folder would import."""
    assert [str(path) for path in tracked() if path.name == "__init__.py" and (ROOT / path).read_bytes()] == []
