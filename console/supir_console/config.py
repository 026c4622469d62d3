"""Config files: YAML read into pydantic models, overridden by `--set a.b=c`, hashed to name a run.

The law it keeps: defaults live in the model, once; an unknown key is refused and the nearest known one named, and a
key that a file has twice, of which YAML would take the last alone, is refused too.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from supir_console.entry import UserError


class Config(BaseModel):
    """Base of every config: unknown keys, infinities and NaN are errors, and a config never changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnyConfig = TypeVar("AnyConfig", bound=Config)


def load_config(model: type[AnyConfig], path: Path | None = None, overrides: Sequence[str] = ()) -> AnyConfig:
    """Returns the config read from `path`, with `overrides` applied, checked against `model`.

    Args:
        path: YAML file holding a mapping; None starts from the defaults.
        overrides: `key.sub=value` strings; the value is read as YAML.

    Raises:
        UserError: the file is missing or no mapping, a key is unknown, or a value is not allowed.
    """
    values = _read_mapping(path) if path else {}
    for override in overrides:
        _apply_override(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        raise UserError(where + "; ".join(_explanations(model, error.errors()))) from error


def config_hash(config: Config) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the config's canonical JSON."""
    return hash_of(config.model_dump(mode="json"))


def hash_of(values: dict[str, Any]) -> str:
    """Returns the first 16 hex digits of the SHA-256 of JSON values in their canonical form."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def config_yaml(config: Config) -> str:
    """Returns the config as YAML, each key under the comment that its field description gives."""
    return "\n".join(_yaml_lines(config, indent=0)) + "\n"


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        _require_each_key_once(path, yaml.compose(text, yaml.SafeLoader))
        values = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise UserError(f"config file {path} does not exist") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(f"config file {path} is not readable YAML: {error}") from error
    except RecursionError as error:
        raise UserError(f"config file {path} has too many levels of brackets inside each other") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"config file {path} holds a {type(values).__name__}; a mapping of keys is needed")
    return values


def _require_each_key_once(path: Path, root: yaml.Node | None) -> None:
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias leads to the node of its anchor
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        keys: dict[str, yaml.Node] = {}
        for key, value in node.value:
            waiting.append(value)
            if isinstance(key, yaml.ScalarNode) and (first := keys.setdefault(key.value, key)) is not key:
                lines = " and ".join(str(each.start_mark.line + 1) for each in (first, key))
                raise UserError(
                    f"config file {path} has the key {key.value!r} twice, in lines {lines}; the second would replace "
                    "all of the first, so make one of them"
                )


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r} has no KEY=VALUE form; write for example --set seed=1")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override!r}: {parent!r} is a value, not a group of keys")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is not readable YAML") from error


def _explanations(model: type[BaseModel], items: Sequence[Any]) -> Iterator[str]:
    """One a value: what no member of a union takes has an error of each of them."""
    by_value: dict[tuple[tuple[str | int, ...], str], list[Any]] = {}
    for item in items:
        by_value.setdefault((_key_of(model, item), repr(item["input"])), []).append(item)
    for (key, value), of_value in by_value.items():
        if len(of_value) == 1:
            yield _explain(model, of_value[0])
            continue
        first, *others = dict.fromkeys(item["msg"] for item in of_value)
        allowed = [first, *(text.removeprefix("Input should be ") for text in others)]
        rule = " or ".join(text.partition(", unable to parse")[0] for text in allowed)
        yield f"config key {'.'.join(map(str, key))!r}: {rule} (got {value})"


def _key_of(model: type[BaseModel], item: Any) -> tuple[str | int, ...]:
    """The keys that lead to a value, without the name of the union's member that refuses it."""
    *parents, last = item["loc"] or ("",)
    is_key = isinstance(last, int) or item["type"] == "extra_forbidden" or last in _known_keys(model, parents)
    return tuple(parents) if parents and not is_key else tuple(item["loc"])


def _explain(model: type[BaseModel], item: Any) -> str:
    location = [str(step) for step in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        return (
            f"unknown config key {key!r}; {_instead(model, location, _known_keys(model, item['loc'][:-1]))}"
        )
    if item["type"] == "model_type":
        return (
            f"config key {key!r} is a group of keys, not a value (got {item['input']!r}); set keys below it"
        )
    if item["type"] == "missing" and isinstance(item["loc"][-1], int):
        *parents, number = location
        return f"config key {'.'.join(parents)!r}: value {int(number) + 1} of the list is missing"
    if item["type"] == "missing":
        return f"config key {key!r} is missing; give it in the file or with --set {key}=VALUE"
    if item["type"] == "value_error":
        # a validator's own words, which name the value; one of a whole section has no key of its own
        return f"config key {key!r}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
    return f"config key {key!r}: {item['msg']} (got {item['input']!r})"


def _instead(model: type[BaseModel], location: Sequence[str], known: Sequence[str]) -> str:
    """What to write in the place of an unknown key: one of like name there, one of its name elsewhere, or any there."""
    *parents, unknown = location
    nearest = [
        ".".join([*parents, name]) for name in difflib.get_close_matches(unknown, known, n=1)
    ] or _keys_named(model, unknown)
    if nearest:
        return f"did you mean {' or '.join(map(repr, nearest))}?"
    return f"known are {', '.join('.'.join([*parents, name]) for name in known)}"


def _keys_named(model: type[BaseModel], name: str, prefix: str = "") -> list[str]:
    """The keys of that name anywhere in a config, with the groups that lead to them."""
    found = [f"{prefix}{name}"] if name in model.model_fields else []
    for group, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _keys_named(field.annotation, name, f"{prefix}{group}.")
    return found


def _known_keys(model: type[BaseModel], parents: Sequence[str | int]) -> list[str]:
    """Returns the keys that are allowed below `parents`, a path of keys, list indices and union tags."""
    models = [model]
    for parent in parents:
        annotations = [
            found.model_fields[parent].annotation for found in models if parent in found.model_fields
        ]
        # an index, a mapping's key or a union's tag is no field: it leads to the members, which are `models` already
        models = [member for annotation in annotations for member in _models_in(annotation)] or models
    return [name for found in models for name in found.model_fields]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _yaml_lines(config: BaseModel, indent: int) -> list[str]:
    pad = "  " * indent
    lines: list[str] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if field.description:
            lines.append(f"{pad}# {field.description}")
        if isinstance(value, BaseModel):
            lines += [f"{pad}{name}:", *_yaml_lines(value, indent + 1)]
            continue
        plain = json.loads(config.model_dump_json(include={name}))[name]
        dumped = yaml.safe_dump(
            plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
        )
        lines.append(f"{pad}{name}: {dumped.removesuffix('...' + chr(10)).strip()}")
    return lines
