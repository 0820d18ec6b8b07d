"""YAML files: read by a safe loader that lets no key stand twice, and the lines on which keys stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cycle.errors import UserError

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C it takes a tenth of the time, with a model's hundreds of keys


class _Unique(_Safe):  # type: ignore[misc]
    """The safe loader, which lets no key stand twice: YAML would take the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def line_of(path: Path, key: str) -> int | None:
    """The line on which a dotted key stands in a YAML file; None where it does not."""
    node, line = yaml.compose(path.read_text(encoding="utf-8"), _Safe), None
    for part in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == part), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a mapping by the safe loader.

    Raises:
        UserError: unreadable, not YAML, or no mapping; names file and line.
    """
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Unique)  # a safe loader
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", path, "save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise UserError(f"is not valid YAML ({getattr(error, 'problem', error)})", where) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError("holds no mapping of keys to values", path)
    return value
