"""By what a voice was judged, in words."""

import pandas as pd

SAID = {
    "speaker": "relative to how the speaker usually sounds, known from {seconds} s of speech",
    "clip": "relative to how the clip usually sounds, known from {seconds} s of speech",
    "data set": "relative to how the data set usually sounds, known from {seconds} s of speech",
    "training": "by how the voices of the training sound, since the own voice says too little or is not to be asked",
}
"""How a window was judged, by its reference."""


def said_reference(evidence: pd.DataFrame) -> str:
    """By which reference `relate` judged the windows, and how many are like nothing heard in training, in a sentence or two.

    '' where the evidence says nothing of it, or of no window.
    """
    if "reference" not in evidence:
        return ""
    rows = evidence[evidence["unlike_training"].notna()].drop_duplicates("window")
    ways = []
    for whose, own in rows.groupby("reference", sort=False):
        known = [f"{seconds:.0f}" for seconds in sorted(own["reference_seconds"].unique())]
        said = SAID[str(whose)].format(seconds=" or ".join(known[:1] + known[1:][-1:]))
        ways.append(f"{len(own)} of {len(rows)} windows {said}" if len(own) < len(rows) else said)
    strange = int((rows["unlike_training"] > 1).sum())
    unlike = f" In {strange} of {len(rows)} windows the voice is like nothing heard in training." if strange else ""
    return f"Judged {'; '.join(ways)}.{unlike}" if ways else ""
