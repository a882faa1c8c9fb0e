"""`python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME ARGUMENTS` runs one."""

import ast
import runpy
import sys
from pathlib import Path

NAMES = {
    "compound_curve": "quality.compound_curve",
    "derive_composer": "derive.composer",
    "derive_people_weights": "derive.people_weights",
    "people": "people.people",
    "derive_face_reference": "derive.face_reference",
    "derive_fusion_weights": "derive.fusion_weights",
    "derive_known_faces": "derive.known_faces",
    "derive_licences": "derive.licences",
    "derive_multilingual_head": "derive.multilingual_head",
    "derive_priors": "derive.priors",
    "derive_static_face_weights": "derive.static_face_weights",
    "derive_sureness": "derive.sureness",
    "exports": "exports",
    "faces": "faces",
    "face_curve": "quality.face_curve",
    "fusion_ways": "quality.fusion_ways",
    "fuzz": "fuzz",
    "gpu": "gpu.run",
    "kills": "kills",
    "learning_ablations": "learning.ablations",
    "learning_clips": "learning.clips",
    "learning_heads": "learning.heads",
    "learning_stills": "learning.stills",
    "make_sample": "sample.make_sample",
    "memory": "memory",
    "networks": "networks.table",
    "over_time": "quality.over_time",
    "peers": "peers.peers",
    "prefect_overhead": "prefect_overhead",
    "quality": "quality.quality",
    "scale": "scale",
    "soak": "soak",
    "speed": "speed",
    "text_curve": "quality.text_curve",
    "voice_folds": "quality.voice_folds",
    "words": "words",
}
"""Name of a benchmark -> its module below `benchmarks`."""


def summary(module: str) -> str:
    """The first line of a benchmark's docstring; the module is read, not imported."""
    path = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names with the others; without one, list them."""
    if not arguments or arguments[0] not in NAMES:
        width = max(map(len, NAMES))
        listed = "\n".join(f"  {name:<{width}}  {summary(module)}" for name, module in NAMES.items())
        print(f"dyad: name one of\n{listed}", file=sys.stderr if arguments else sys.stdout)
        return 2
    sys.argv[:] = [f"dyad benchmark {arguments[0]}", *arguments[1:]]
    runpy.run_module(f"benchmarks.{NAMES[arguments[0]]}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
