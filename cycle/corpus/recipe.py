"""The files of a new recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cycle.corpus.plan import Plan
from cycle.data.kaldi import NOBODY
from cycle.data.pool import Item
from cycle.data.rejects import Rejects
from cycle.data.text import spelling
from cycle.data.types import POOLS
from cycle.files import atomic_dir, write_text

LONG, LONGEST = 20.0, 30.0  # seconds: the default, and what is allowed where a corpus has longer recordings
PRESETS = {
    "cpu": {"paired": 1500, "speech": 4000, "text": 8000, "dev": 300, "test": 1000},
    "smoke": {"paired": 40, "speech": 40, "text": 80, "dev": 12, "test": 24},
}

PREPARE = '''"""{name}: made by `python -m cycle new-corpus`; yours to change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import folder
from cycle.data.kaldi import Fault
from cycle.data.types import Utterance

SPLITS = {splits}


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    return folder.utterances(root, split, options)


def fetch(target: Path, options: dict[str, Any]) -> Path:
    return Path(options["audio"])  # where the recordings were when this was made


# A language with its own pronunciation: take the marks off and return the tokens of a text (lower case, no punctuation).
# def pronounce(text: str) -> list[str]:
#     return [phone for word in text.split() for phone in [*LEXICON[word], "|"]][:-1]
'''

README = """# {name}

| | |
|---|---|
| source | `{audio}`, transcripts `{text}` |
| licence | please fill in |
| speech | {utterances:,} utterances, {hours:.2f} h, {speakers} |
| pools | {pools} |
| unit | {unit}, {tokens} tokens |

```
./run.sh --corpus {name}
```

Left out: {rejected}
"""


def conf(language: str, made: Plan, items: list[Item]) -> dict[str, Any]:
    """conf.yaml: what differs from conf/base.yaml, and smaller pools by preset."""
    out: dict[str, Any] = {"corpus": {"language": language, "options": made.options}, "pools": made.sizes}
    if any((item.utt.seconds or 0) > LONG for item in items):
        out["features"] = {"max_seconds": LONGEST}
    there = {name: len(made.pools[name]) for name in POOLS}
    caps = {preset: {name: min(most, there[name]) for name, most in sizes.items()} for preset, sizes in PRESETS.items()}
    return out | {"presets": {preset: {"pools": sizes} for preset, sizes in caps.items() if sizes != there}}


def readme(name: str, language: str, made: Plan, items: list[Item], rejects: Rejects) -> str:
    spks = len({item.utt.spk for item in items} - {NOBODY})
    return README.format(
        name=name,
        audio=made.options["audio"],
        text=made.options["text"] or "beside them",
        utterances=len(items),
        hours=hours(items),
        speakers=f"{spks} speakers" if spks else "speakers unknown",
        pools=sizes(made),
        tokens=len({token for item in items for token in item.tokens.split()}),
        unit=spelling(language).metric.removesuffix("_error_rate"),
        rejected=", ".join(f"{n} {reason}" for reason, n in rejects.reasons.items()) or "nothing",
    )


def hours(items: list[Item]) -> float:
    return sum(item.utt.seconds or 0.0 for item in items) / 3600


def sizes(made: Plan) -> str:
    return ", ".join(f"{len(made.pools[name])} {name}" for name in POOLS)


def write(target: Path, language: str, made: Plan, items: list[Item], rejects: Rejects) -> None:
    """The three files of a recipe, and the list of what is left out; all of them or none."""
    with atomic_dir(target) as aside:
        write_text(aside / "prepare.py", PREPARE.format(name=target.name, splits=repr(made.splits).replace("'", '"')))
        head = f"# {target.name}: made by `python -m cycle new-corpus`; only what differs from conf/base.yaml\n"
        body = yaml.safe_dump(conf(language, made, items), allow_unicode=True, sort_keys=False, width=140, default_flow_style=None)
        write_text(aside / "conf.yaml", head + body)
        write_text(aside / "README.md", readme(target.name, language, made, items, rejects))
        rejects.write(aside / "rejected.tsv")
