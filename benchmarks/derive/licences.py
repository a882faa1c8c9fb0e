"""The licences of everything that Dyad installs to run, read from the environment: writes docs/licences.md.

    ./dyad benchmark derive_licences
"""

import importlib.metadata as metadata
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import make_parser
from benchmarks.derive.locks import name_of, read_pins
from data.files import write_text

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-source.lock", "requirements-optional.lock")
COPYLEFT = re.compile(r"GPL|General Public|MPL|Mozilla|Artistic", re.I)
GPL_CODECS = ("x264", "x265")
HEAD = """# Licences

Dyad is under MIT. What it installs to run is listed here, read from the environment (`./dyad benchmark derive_licences`,
Python 3.11 on Linux); what only other platforms or Pythons get is not. Models have [a table of their own](models.md). This page
is no legal advice.

## Handing on an image or an environment

Using Dyad on your own machines asks for nothing. Whoever *hands on* a container image, a virtual machine or a folder with the
environment hands on these packages too:

* **PyAV's wheel contains FFmpeg with {codecs}, which are under GPL 2 or later**, and so FFmpeg in it is, too. An image with it
  has to come with the licence's text and the corresponding source, or a written offer of it, and what is linked with it in one
  work is to be offered under terms that go with the GPL, as MIT does; a closed program that contains Dyad cannot be handed on
  with this wheel. The remedy is a PyAV built against an FFmpeg without them: `pip install --no-binary av av=={av}`, where
  pkg-config finds an FFmpeg that was configured without `--enable-gpl`. It decodes all the same; this was not tried here.
* Packages under the GPL alone in the first table ask for the same.
* Those under LGPL or MPL come with their licence's text, and changes to them are to be published.
* Patents on H.264, H.265 and AAC are another matter.

The libraries in PyAV's wheel: {libraries}.

"""


def licence_of(package: metadata.Distribution) -> str:
    """What a package's metadata says: its expression, else its classifiers, else the first line of its licence."""
    said = package.metadata
    if "License-Expression" in said:
        return said["License-Expression"]
    named = [line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [name for name in named if name != "OSI Approved"]
    return ", ".join(named) or (" ".join(said.get_all("License") or []).strip().splitlines() or ["not stated"])[0][:60]


def page() -> str:
    """The page's text; only what is installed stands in it."""
    pins = {pin.partition(";")[0].strip() for lock in LOCKS for pin in read_pins((ROOT / lock).read_text(encoding="utf-8"))}
    rows = []
    for name in sorted(map(name_of, pins)):
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        rows.append((name, package.version.partition("+")[0], licence_of(package)))
    files = [Path(str(file)).name for file in metadata.files("av") or [] if ".libs/" in str(file)]
    libraries = sorted({re.sub(r"^lib|[-.].*$", "", name) for name in files})
    codecs = " and ".join(name for name in GPL_CODECS if name in libraries)
    head = HEAD.format(codecs=codecs or "no GPL codecs", av=metadata.version("av"), libraries=", ".join(libraries))
    strict = [row for row in rows if COPYLEFT.search(row[2])]
    return f"{head}## Packages under LGPL, MPL or GPL\n\n{_table(strict)}\n## All packages\n\n{_table(rows)}"


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    lines = "".join(f"| {name} | {version} | {licence.replace('|', '/')} |\n" for name, version, licence in rows)
    return f"| package | version | licence as its metadata says |\n|---|---|---|\n{lines}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    make_parser(__doc__).parse_args(arguments)
    write_text(ROOT / "docs" / "licences.md", page())
    print("docs/licences.md is written.")


if __name__ == "__main__":
    main()
