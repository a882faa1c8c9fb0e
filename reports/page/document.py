"""The shell of a page: one HTML file that carries its style, its script and its facts, and asks nobody for anything.

A Content-Security-Policy in the page lets only its own style and script run (named by their digests) and forbids every
request but for the media and for pictures that lie beside it or in it; whatever comes from media or models is escaped.
"""

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path

PAGE_STYLE = Path(__file__).with_name("page.css")


def document(title: str, body: str, facts: object, style: str, script: str, pictures: str = "data:") -> str:
    """The whole page: `body` is HTML, `facts` what the script reads (JSON in the element `facts`), `pictures` where pictures may
    come from (of a Content-Security-Policy; "'self' file: data:" lets those that lie beside the page be shown)."""
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; media-src 'self' file:; "
        f"img-src {pictures}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="facts">{json_text(facts)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


@cache
def asset(path: Path) -> str:
    """A style or script as text."""
    return "\n" + path.read_text(encoding="utf-8")


def escaped(value: object) -> str:
    """A value as text that HTML shows as it is, also inside an attribute."""
    return html.escape(str(value))


def breaking(name: str) -> str:
    """A name of a file, escaped, that breaks behind the signs that part its words, and not inside a number."""
    return "<wbr>".join(map(escaped, re.split(r"(?<=[_/-])(?=[^_/-])|(?<=\.)(?=[^\d\s._/-])", name)))


def words_of(name: str) -> str:
    """`happily_surprised` as people write it, escaped."""
    return escaped(name.replace("_", " "))


def json_text(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
