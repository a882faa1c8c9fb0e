"""Settings in words: each with what it means, one set by its name, and the nearest name where there is none such."""

import difflib
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from configs.schema import Section
from data.errors import InputError
from data.yaml_files import parse_yaml

WIDTH = 118


def meanings(section: type[Section], before: str = "") -> Iterator[tuple[str, str]]:
    """Every setting of a section, with dots before the names inside it, and what it means."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from meanings(kind, f"{before}{name}.")
        else:
            yield f"{before}{name}", " ".join((field.description or "").split()).rstrip(".")


def with_comments(section: Section, indent: str = "") -> Iterator[str]:
    """The lines of a YAML file with every setting, and above each what it means."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        said = (type(value).__doc__ or "") if isinstance(value, Section) else field.description or ""
        wrapped = textwrap.wrap(" ".join(said.split()), WIDTH - len(indent))
        yield from (f"{indent}# {line}" for line in wrapped)
        if isinstance(value, Section):
            yield f"{indent}{name}:"
            yield from with_comments(value, f"{indent}  ")
        else:
            dumped = yaml.safe_dump({name: section.model_dump(mode="json", include={name})[name]}, sort_keys=False)
            yield from (f"{indent}{line}" for line in dumped.splitlines())


def changes(given: Iterable[str], section: type[Section]) -> dict[str, Any]:
    """'windows.length=2' as {'windows': {'length': 2}}; InputError for what is no such pair, and for an unknown name."""
    tree: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--settings {pair}: write KEY=VALUE, e.g. --settings windows.length=2.")
        check_name(name.strip(), section)
        *sections, field = name.strip().split(".")
        below = tree
        for one in sections:
            below = below.setdefault(one, {})
        below[field] = parse_yaml(value, f"--settings {name.strip()}")
    return tree


def check_name(name: str, section: type[Section]) -> None:
    """InputError, with the nearest names and what they mean, where no setting has this name."""
    known = dict(meanings(section))
    if any(name == one or name.startswith(f"{one}.") for one in known):
        return
    inside = [one for one in known if one.startswith(f"{name}.")]
    if inside:
        raise InputError(f"{name} is a group of settings; name one of it: {', '.join(inside)}.")
    raise InputError(f"There is no setting {name}; {nearest(name, known)}")


def nearest(name: str, known: Mapping[str, str]) -> str:
    """'did you mean windows.length (Seconds of a window.)?', or where to look."""
    by_last: dict[str, list[str]] = {}
    for one in known:
        by_last.setdefault(one.rpartition(".")[2], []).append(one)
    near = difflib.get_close_matches(name, known, 2, 0.75)
    near += [one for last in difflib.get_close_matches(name.rpartition(".")[2], by_last, 2, 0.75) for one in by_last[last]]
    told = [f"{one} ({known[one]})" for one in list(dict.fromkeys(near))[:3]]
    return f"did you mean {' or '.join(told)}?" if told else "'dyad settings' lists all of them."


def mistake(where: Sequence[object], message: str, kind: str, section: type[Section]) -> str:
    """What is wrong with one setting, and what it means; `where` are the names that lead to it, `kind` is pydantic's word."""
    name, known = ".".join(map(str, where)), dict(meanings(section))
    if kind == "extra_forbidden":
        return f"there is no setting {name}; {nearest(name, known)}"
    means = next((known[one] for one in known if name == one or name.startswith(f"{one}.")), "")
    return f"{name or 'the file'}: {message.rstrip('.')}" + (f" ({means})" if means else "")
