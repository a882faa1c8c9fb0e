"""The files that pin every package with the SHA-256 of its wheels, made from pyproject.toml by uv.

    ./dyad lock                     keep the versions that are pinned and still fit; list the hashes that the index has of them
    ./dyad lock --upgrade           take the newest versions that fit
    ./dyad lock --check             change nothing; exit 1 with what differs, and where a wheel is lacking
    ./dyad lock --wheels FOLDER     list the hashes of the CPU builds of torch in a folder, too, which PyPI has not

One resolution serves Linux and macOS and Python 3.11 to 3.13; --check asks the index for each of them whether every pin has a
wheel with a hash that is listed. The hashes of CPU builds stay while torch's version does.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import make_parser
from data.errors import DyadError
from data.files import file_digest, write_text

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("openai-whisper",)
"""Packages without a wheel: built from their pinned source by the setuptools that is pinned."""
CUDA = re.compile(r"nvidia-|cuda-|triton$")
"""Names of what torch asks for on Linux, where it is the CUDA build."""
WHEELS_ONLY = "--require-hashes\n--only-binary :all:\n"
ALWAYS = ("python_full_version < '3.14'", "(sys_platform == 'darwin' or sys_platform == 'linux')")
"""Parts of uv's markers that hold wherever Dyad runs."""
BUILT = f"--require-hashes\n--only-binary :all:\n--no-binary {','.join(SOURCES)}\n"


@dataclass(frozen=True)
class Lock:
    """A lock's name, the extras of pyproject.toml that it is for, and what its first line says."""

    name: str
    extras: tuple[str, ...]
    says: str


BASE = Lock("requirements.lock", ("mediapipe",), "Everything that Dyad needs, but what -cuda and -source hold.")
LOCKS = (
    BASE,
    Lock("requirements-cuda.lock", ("mediapipe",), "What torch needs on top where it is the CUDA build, as PyPI's is on Linux."),
    Lock("requirements-cpu.lock", ("mediapipe",), "The CPU build of torch for Linux, tried first; PyPI has it not."),
    Lock("requirements-source.lock", ("mediapipe",), "What has no wheel: built from its source by the pinned setuptools."),
    Lock("requirements-dev.lock", ("dev",), "What the tests and the checks need on top of requirements.lock."),
    Lock("requirements-docs.lock", ("docs",), "What the documentation is built with, on top of requirements.lock."),
    Lock("requirements-optional.lock", ("songs", "languages"), "Good to have: the set-up goes on where one cannot be had."),
)
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
"""Where Dyad is installed, as uv calls it: Linux on both processors, Macs with Apple's."""
MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
"""The oldest macOS that PyAV has a wheel for."""
Pins = dict[str, set[str]]
"""`name==version ; marker` -> SHA-256 of its files."""


def read_pins(text: str) -> Pins:
    """The pins of a lock's text with their hashes."""
    pins: Pins = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            pin, *hashes = line.split("--hash=sha256:")
            version, _, marker = " ".join(pin.split()).partition(" ; ")
            marker = " and ".join(part for part in marker.split(" and ") if part not in ALWAYS)
            pins[f"{version} ; {marker}" if marker else version] = {one.strip() for one in hashes}
    return pins


def write_pins(lock: Lock, pins: Pins) -> str:
    """A lock's text, as pip reads it."""
    options = BUILT if lock.name == "requirements-source.lock" else WHEELS_ONLY
    lines = [f"# {lock.says} Made by './dyad lock'; install with 'pip install --no-deps -r {lock.name}'.\n{options}"]
    for pin in sorted(pins):
        lines.append(" \\\n".join([pin, *(f"    --hash=sha256:{one}" for one in sorted(pins[pin]))]) + "\n")
    return "".join(lines)


def resolve(extras: Sequence[str], pinned: Path, upgrade: bool) -> Pins:
    """What uv finds for the dependencies and these extras; `pinned` holds the versions to keep, and is written to.

    Raises DyadError with what uv says.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--universal", "--generate-hashes", "--quiet"]
    command += ["--only-binary", ":all:", *(f"--no-binary={name}" for name in SOURCES), "--no-annotate", "--no-header"]
    command += [f"--extra={extra}" for extra in extras]
    done = subprocess.run([*command, "--output-file", str(pinned), *(["--upgrade"] if upgrade else [])],
                          cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise DyadError(f"uv could not resolve pyproject.toml with {', '.join(extras)}: {done.stderr.strip()}")
    return read_pins(pinned.read_text(encoding="utf-8"))


def make_locks(upgrade: bool, wheels: Path | None) -> dict[str, str]:
    """File name -> text of every lock."""
    old = {lock.name: read_pins((ROOT / lock.name).read_text(encoding="utf-8")) for lock in LOCKS if (ROOT / lock.name).is_file()}
    with TemporaryDirectory() as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text("\n".join(sorted({pin for pins in old.values() for pin in pins})), encoding="utf-8")
        resolve(sorted({extra for lock in LOCKS for extra in lock.extras}), pinned, upgrade)  # one set of versions for all
        whole = pinned.read_text(encoding="utf-8")
        found: dict[tuple[str, ...], Pins] = {}
        for extras in dict.fromkeys(lock.extras for lock in LOCKS):
            pinned.write_text(whole, encoding="utf-8")
            found[extras] = resolve(extras, pinned, False)
    made = {lock.name: share_of(lock, found) for lock in LOCKS}
    torch = next(pin for pin in found[BASE.extras] if name_of(pin) == "torch") + "+cpu"
    own = {file_digest(wheel) for wheel in wheels.glob(f"{torch.replace('==', '-')}-*.whl")} if wheels else set()
    made["requirements-cpu.lock"] = {torch: own | old.get("requirements-cpu.lock", {}).get(torch, set())}
    return {lock.name: write_pins(lock, made[lock.name]) for lock in LOCKS}


def share_of(lock: Lock, found: dict[tuple[str, ...], Pins]) -> Pins:
    """The part of what was found for a lock's extras that stands in this lock."""
    pins, base = found[lock.extras], found[BASE.extras]
    if lock.name == "requirements-cuda.lock":
        return {pin: hashes for pin, hashes in pins.items() if CUDA.match(name_of(pin))}
    if lock.name == "requirements-source.lock":
        return {pin: hashes for pin, hashes in pins.items() if name_of(pin) in SOURCES}
    if lock is BASE:
        return {pin: hashes for pin, hashes in pins.items() if not CUDA.match(name_of(pin)) and name_of(pin) not in SOURCES}
    return {pin: hashes for pin, hashes in pins.items() if bare(pin) not in {bare(other) for other in base}}


def bare(pin: str) -> str:
    """A pin without its marker."""
    return pin.partition(";")[0].strip()


def name_of(pin: str) -> str:
    """A pin's name."""
    return pin.partition("==")[0]


def differences(name: str, text: str) -> list[str]:
    """How a lock's file differs from what was made, in sentences."""
    path = ROOT / name
    there, made = read_pins(path.read_text(encoding="utf-8")) if path.is_file() else {}, read_pins(text)
    said = [f"{name}: {pin} is not what pyproject.toml asks for" for pin in sorted(there.keys() - made.keys())]
    said += [f"{name}: {pin} is lacking" for pin in sorted(made.keys() - there.keys())]
    unlisted = [pin for pin in sorted(made) if made[pin] - there.get(pin, made[pin])]
    return said + [f"{name}: {pin} has files that are not listed" for pin in unlisted]


def not_to_be_had(platform: str, python: str) -> str:
    """What uv says where a platform has not all wheels, with the hashes that are listed, of what the set-up installs there."""
    locks = ["requirements.lock", *(["requirements-cuda.lock"] if "linux" in platform else [])]
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--target", "nowhere"]
    command += ["--python-platform", platform, "--python-version", python, *(f"--requirements={lock}" for lock in locks)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **MACOS}, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the locks, or compare them."""
    parser = make_parser(__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args(arguments)
    try:
        made = make_locks(options.upgrade, options.wheels)
    except DyadError as error:
        print(f"dyad: {error}", file=sys.stderr)
        return 1
    changed = [sentence for name, text in made.items() for sentence in differences(name, text)]
    print("\n".join(changed) or "The locks are as pyproject.toml and the index have it.")
    if not options.check:
        for name, text in made.items():
            write_text(ROOT / name, text)
        return 0
    told = {place: not_to_be_had(*place) for place in product(PLATFORMS, PYTHONS)}
    lacking = {place: said for place, said in told.items() if said}
    for (platform, python), said in lacking.items():
        print(f"{platform}, Python {python}: {said}")
    print(f"{len(told) - len(lacking)} of {len(told)} platforms and Pythons have all wheels.")
    return int(bool(changed or lacking))


if __name__ == "__main__":
    sys.exit(main())
