"""Imports run one way, and the true transcripts of "unpaired" speech stay where only evaluation looks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cycle"

# A room may import itself and what stands above it. Files that are not named here are verbs, which may import everything.
FLOORS = [
    {"command", "errors", "files", "settings", "limits", "config", "device", "experiment", "fabric", "log", "stage", "yaml_file"},
    {"data"},
    {"models"},
    {"rewards", "eval"},
    {"objectives"},
    {"exchange", "train"},
]
VERBS = len(FLOORS)
# Spells the path; writes the folder; names it as what stage 1 makes.
KNOW_THE_ORACLE = {"experiment", "prepare", "stage"}
# Hands the true texts to the control of that name, and keeps monitors of the labels; trains the judge of the synthesiser.
ASK_FOR_TRUE_TEXTS = {"exchange.round_data", "decode"}


def modules() -> dict[str, Path]:
    """Dotted names below cycle: "" for cycle itself, "data.types", ..."""
    files = PACKAGE.rglob("*.py")
    return {".".join(f.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): f for f in files}


def floor(module: str) -> int:
    room = module.split(".")[0]
    return next((n for n, rooms in enumerate(FLOORS) if room in rooms), VERBS)


def imported(tree: ast.AST, package: str) -> set[str]:
    """Every module that may be imported, also inside functions: absolute dotted names.

    `from a import b` counts as a.b: only so is `from cycle import eval` seen.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def wrong_imports(module: str, source: str, is_package: bool = False) -> list[str]:
    dotted = f"cycle.{module}".rstrip(".")
    wrong = []
    for name in imported(ast.parse(source), dotted if is_package else dotted.rpartition(".")[0]):
        top, _, rest = name.partition(".")
        if top in {"egs", "local", "tests"}:
            wrong.append(f"{module} imports {name}: the package does not know its recipes")
        if top in {"espnet", "espnet2", "espnet3"} and module.split(".")[0] != "models":
            wrong.append(f"{module} imports {name}: only cycle/models knows ESPnet")
        if top == "cycle" and rest and _exists(rest) and floor(rest) > floor(module):
            wrong.append(f"{module} imports {name}: that stands further down")
    return wrong


def _exists(rest: str) -> bool:
    """False for names such as __version__, which `from cycle import` may fetch too."""
    path = PACKAGE / rest.split(".")[0]
    return path.is_dir() or path.with_suffix(".py").is_file()


def mentions_oracle(source: str) -> bool:
    """Whether code touches an attribute or a path called oracle; comments and docstrings may speak of it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "oracle":
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ("/oracle" in node.value or "oracle/" in node.value):
            return "\n" not in node.value and " " not in node.value
    return False


def asks_for_true_texts(source: str) -> bool:
    return any(name.startswith("cycle.eval.oracle") for name in imported(ast.parse(source), "cycle"))


@pytest.mark.parametrize("module", modules())
def test_imports_run_one_way(module: str) -> None:
    path = modules()[module]
    assert wrong_imports(module, path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize("module", modules())
def test_only_evaluation_opens_the_oracle(module: str) -> None:
    source = modules()[module].read_text(encoding="utf-8")
    evaluates = module.split(".")[0] == "eval"
    assert evaluates or module in KNOW_THE_ORACLE or not mentions_oracle(source)
    assert evaluates or module in ASK_FOR_TRUE_TEXTS or not asks_for_true_texts(source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data.types", "from cycle.models import pair"),
        ("data.types", "def f():\n    import cycle.train.loop"),
        ("models.pair", "from ..eval import errors"),
        ("objectives.x", "from cycle import exchange"),
        ("config", "import cycle.score"),
        ("run", "from local.espeak import speak"),
        ("run", "import importlib\nimportlib.import_module('egs.mini.prepare')"),
        ("train.loop", "from espnet2.tasks.asr import ASRTask"),
    ],
)
def test_a_wrong_import_is_seen(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize("source", ["path = exp.oracle", "path = root / 'oracle/text'"])
def test_a_look_at_the_oracle_is_seen(source: str) -> None:
    assert mentions_oracle(source)


def test_a_question_for_true_texts_is_seen() -> None:
    assert asks_for_true_texts("from cycle.eval.oracle import true_texts")
    assert asks_for_true_texts("from cycle.eval import oracle")


@pytest.mark.skipif(not (PACKAGE / "__main__.py").exists(), reason="no command line yet")
@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["check", "--help"]])
def test_help_imports_neither_torch_nor_espnet(words: list[str]) -> None:
    code = "import runpy, sys; sys.argv = ['cycle', *sys.argv[1:]]\ntry: runpy.run_module('cycle', run_name='__main__')\n"
    code += "finally: print('loaded:', *({'torch', 'espnet2', 'librosa', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_every_imported_package_is_a_direct_requirement() -> None:
    """What only comes along with another package may go away with it."""
    lines = (ROOT / "tools/requirements.txt").read_text().splitlines()
    direct = {line for line in lines if line and not line.startswith("#")}
    ours = {"cycle", "egs", "local", "tests", *sys.stdlib_module_names}
    ours.add("lightning")  # serves where another is not there
    homes = packages_distributions()
    files = [f for folder in ("cycle", "local", "egs", "tests") for f in (ROOT / folder).rglob("*.py")]
    tops = {name.split(".")[0]: f.name for f in files for name in imported(ast.parse(f.read_text(encoding="utf-8")), "cycle.x")}
    lacking = {top: file for top, file in tops.items() if top not in ours and not direct & {d.lower() for d in homes.get(top, [])}}
    assert lacking == {}


def test_a_mistake_is_told_without_waiting_for_espnet() -> None:
    """It takes seconds to import; recipes are looked at before anything runs, and that is when mistakes are found."""
    rooms = ", ".join(f"cycle.objectives.{f.stem}" for f in sorted((PACKAGE / "objectives").glob("[a-z]*.py")))
    code = f"import sys, cycle.run, {rooms}; sys.exit('espnet2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
