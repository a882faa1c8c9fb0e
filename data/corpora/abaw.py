"""The corpora of the ABAW challenges, labelled frame by frame: C-EXPR-DB and Aff-Wild2."""

import re

import pandas as pd

from data.corpora.tree import Found, Tree, media_by, some, stem

_ANNOTATION = re.compile(r"(?:^|/)EXPR_\w*Challenge/(Train|Validation|Test)_Set/([^/]+)\.txt")
_SPLITS = {"Train": "train", "Validation": "dev", "Test": "test"}


def c_expr_db(tree: Tree) -> Found:
    """C-EXPR-DB: videos/01.mp4 to 56.mp4, all of them test; its labels are hidden (`labels.txt`, `labels/NN.txt` where known)."""
    files = media_by(tree, lambda path: stem(path) if re.fullmatch(r"\d\d", stem(path)) else None)
    numbers = sorted(map(str, files))
    listed = next((path for path in tree.files if path == "labels.txt"), "")
    own = {stem(path): path for path in tree.files if re.fullmatch(r"labels/\d\d\.txt", path)}
    rows = [
        {"path": files[number], "clip_id": number, "split": "test", "frame_labels": own.get(number, listed)} for number in numbers
    ]  # fmt: skip
    notes = []
    if numbers and (missing := sorted({f"{number:02d}" for number in range(1, 57)} - set(numbers))):
        notes.append(f"Not there: {some(missing, '56 videos')}; a challenge file needs all of them.")
    if not listed and not own:
        notes.append("No labels: those of C-EXPR-DB are hidden. Where you have some, put them into labels.txt or labels/NN.txt.")
    return Found(pd.DataFrame(rows, dtype="str"), tuple(notes))


def aff_wild2(tree: Tree) -> Found:
    """Aff-Wild2: batch1/*.mp4, batch2/*.avi and EXPR_Recognition_Challenge/{Train,Validation}_Set/<video>.txt.

    A video in which two people are annotated apart (<video>_left.txt) gets no labels: the main face may be either of them.
    """
    files = {str(name): path for name, path in media_by(tree, stem).items()}
    annotated = {found[2]: (path, _SPLITS[found[1]]) for path in tree.files if (found := _ANNOTATION.search(path))}
    apart = {name: re.sub(r"_(?:left|right)$", "", name) for name in annotated if name not in files}
    splits = {video: annotated[name][1] for name, video in apart.items() if video in files}
    rows = []
    for name in sorted(files):
        labels, split = annotated.get(name, ("", splits.get(name, "")))
        rows.append({"path": files[name], "clip_id": name, "split": split, "frame_labels": labels})
    notes = []
    if two := sorted({video for name, video in apart.items() if video != name and video in files}):
        notes.append(f"Listed without labels, since two people have labels of their own: {some(two, 'videos')}.")
    if lost := sorted(name for name, video in apart.items() if video not in files):
        notes.append(f"Not there: {some(lost, 'annotated videos')}; unpack batch1 and batch2 into {tree.root}.")
    if not annotated:
        notes.append(f"No EXPR_Recognition_Challenge/Train_Set/<video>.txt in {tree.root}; without them there are no labels.")
    return Found(pd.DataFrame(rows, dtype="str"), tuple(notes))
