"""Makes the reference from signatures and docstrings: `.venv/bin/python docs/make_reference.py` writes docs/reference*.md.

Nothing is imported: griffe reads the sources.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
MODULES: dict[str, str] = {
    "flows": "api recognition settings sections",
    "data": "emotions windows clip scores fused run_folder errors media decode frames subtitles tables brought manifest labels "
    "metrics material added",
    "modalities": "faces static_face dynamic_face scene_labels scene_context voice transcript text image_classifier "
    "audio_classifier speech_encoder text_classifier clip_dynamic_face qwen_vl chat_server vision_language batching",
    "fusion": "fuse mhpf compose composer contributions over_time weights pooling fitted fitting tables",
    "reports": "result page notebook timeline_picture markdown terminal explain exports",
}
ABOUT = {
    "flows": "the calls for Python, and every setting",
    "data": "value objects, media, tables, the run folder; they import nothing of Dyad",
    "modalities": "what recognises: each has `load`, `score_*` for many inputs, and `recognise` for a clip",
    "fusion": "from the modalities' scores to compounds, with reasons",
    "reports": "what people and other tools read",
}
HEAD = "<!-- Made by docs/make_reference.py from the docstrings; change those, and run it again. -->\n"


def pages() -> dict[str, str]:
    """The text of each page by file name."""
    listed = "\n".join(f"* [`{package}`](reference-{package}.md): {about}" for package, about in ABOUT.items())
    told = "Public functions and value objects, made from their docstrings. What lies in files: [files.md](files.md)."
    made = {"reference.md": f"{HEAD}# Reference\n\n{told}\n\n{listed}\n"}
    for package, names in MODULES.items():
        parts = [HEAD + f"# `{package}`: {ABOUT[package].split(';')[0].split(':')[0]}"]
        parts += [part for name in names.split() for part in module_parts(f"{package}.{name}")]
        made[f"reference-{package}.md"] = "\n\n".join(parts) + "\n"
    return made


def module_parts(name: str) -> Iterator[str]:
    """Heading, docstring and public members of a module."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    module = griffe.visit(name, filepath=path, code=path.read_text(encoding="utf-8"))
    yield f"## `{name}`"
    yield text_of(module)
    for member in sorted(public(module), key=lambda one: one.lineno or 0):
        yield from member_parts(member)


def public(owner: griffe.Object) -> list[griffe.Object]:
    """Members that are defined here, have a docstring, and no underscore before their name."""
    own = [one for one in owner.members.values() if isinstance(one, griffe.Object) and not one.name.startswith("_")]
    return [one for one in own if one.docstring and isinstance(one, griffe.Function | griffe.Class | griffe.Attribute)]


def member_parts(member: griffe.Object) -> Iterator[str]:
    """A function, class or constant; of a class its methods, properties and documented fields as a list."""
    if isinstance(member, griffe.Attribute):
        yield f"**`{member.name}`** {text_of(member)}"
        return
    yield f"### `{member.name}`"
    if signature(member) != member.name:
        yield f"`{signature(member)}`"
    yield text_of(member)
    inside = public(member) if isinstance(member, griffe.Class) else []
    if inner := [f"* `{signature(one)}`: {' '.join(text_of(one).split())}" for one in inside]:
        yield "\n".join(inner)


def signature(member: griffe.Object) -> str:
    """The name with parameters and what is returned; of a field its type and default."""
    if isinstance(member, griffe.Attribute):
        value = f" = {member.value}" if member.value is not None and len(str(member.value)) < 60 else ""
        return f"{member.name}: {member.annotation}{value}" if member.annotation else member.name
    if isinstance(member, griffe.Class):
        return str(member.signature()) if "dataclass" in member.labels else member.name
    assert isinstance(member, griffe.Function)
    return str(member.signature())


def text_of(member: griffe.Object) -> str:
    """The docstring, with nothing in it that Markdown would take for markup."""
    text = member.docstring.value if member.docstring else ""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


if __name__ == "__main__":
    for file, content in pages().items():
        (ROOT / "docs" / file).write_text(content, encoding="utf-8")
    sys.stdout.write(f"{len(pages())} pages written to docs/\n")
