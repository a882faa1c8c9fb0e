"""`--static-face` and `--dynamic-face`: the backend of a branch of the face in one word, with its checkpoint."""

from typing import Annotated, Any, get_args

import typer

Static = Annotated[
    str | None, typer.Option("--static-face", help="NAME=CHECKPOINT of a network ('dyad models networks'), or a backend.")
]
Dynamic = Annotated[
    str | None, typer.Option("--dynamic-face", help="NAME=CHECKPOINT of a network ('dyad models networks'), or a backend.")
]


def face_overrides(static: str | None, dynamic: str | None) -> dict[str, Any]:
    """The settings that both options mean; InputError for a name that is neither a backend nor a network of that branch.

    `s4d=s4d.safetensors` is the network with its checkpoint, `avcer=resnet.pt,lstm.pt` one of two files, `embedded` a backend.
    """
    given = {"static": static, "dynamic": dynamic}
    return {f"{kind}_face": _meaning(kind, text) for kind, text in given.items() if text is not None}


def _meaning(kind: Any, text: str) -> dict[str, Any]:
    from flows.sections import DynamicFaceSettings, StaticFaceSettings
    from modalities.face.registry import network_table

    section = StaticFaceSettings if kind == "static" else DynamicFaceSettings
    name, _, files = text.partition("=")
    if name in get_args(section.model_fields["backend"].annotation) and name != "network":
        return {"backend": name}
    row = network_table().choose(name, kind)
    fields = zip(("checkpoint", "head"), filter(None, files.split(",")), strict=False)
    return {"backend": "network", "network": row.name, **dict(fields)}
