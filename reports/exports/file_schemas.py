"""The schema of every file that Dyad writes about a clip and about a data set, as data; a test compares it with real runs."""

from dataclasses import dataclass

from data.emotions import BASIC_EMOTIONS

COMPOUND, MODALITY, STAGE = "<compound>", "<modality>", "<stage>"
"""Places in the names of columns: a column for each compound of the run, each modality, each stage."""


@dataclass(frozen=True)
class Column:
    """A column or field: `kind` is its type, `unit` what its numbers count, `optional`: not in every run."""

    name: str
    kind: str
    unit: str
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class FileSchema:
    """A file: its name (with places in <>), what it holds, what a row is, and its columns (none for what is no table)."""

    name: str
    about: str
    row: str = ""
    columns: tuple[Column, ...] = ()


def _basic(kind: str, meaning: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind, "0..1", f"{meaning} {name}") for name in BASIC_EMOTIONS)


START = Column("start", "float64", "s", "where the window begins, from the beginning of the clip")
END = Column("end", "float64", "s", "where it ends")
WINDOW = Column("window", "int64", "", "number of the window, from 0: the row of windows.parquet")
FRAME = Column("frame", "int64", "", "number of the frame in the video, from 0")
TIME = Column("time_s", "float64", "s", "time of the frame, from the container")
TRACK = Column("track_id", "int32", "", "the person in a shot, as in faces.parquet")
_ANSWER = (
    *_basic("float64", "fused probability of"),
    Column(COMPOUND, "float64", "0..1", "probability of the compound if one of them is shown: they sum to 1"),
    Column("top", "text", "", "the compound that wins; empty where none does"),
    Column("emotion", "text", "", "the strongest basic emotion; empty without evidence"),
    Column("sureness", "float64", "0..1", "how likely the answer is right (top, or where that is empty emotion), calibrated"),
    Column("sureness_low", "float64", "0..1", "the least that the calibration allows (95 %)"),
    Column("sureness_high", "float64", "0..1", "the most"),
    Column("blend", "float64", "0..1", "how evenly the winner's two emotions are mixed: 1 half and half; empty without a winner"),
)
_NONE = Column("none", "float64", "0..1", "probability that none of the compounds is shown")
_CONTRIBUTION = Column(f"contribution_{MODALITY}", "float64", "", "what it gave: they add up to the probability of top, or where "
                       "that is empty to that of emotion; empty where it is absent")
_QUALITY = Column(f"quality_{MODALITY}", "float64", "0..1", "how well it could see or hear (fusion.md); empty where unknown")

WHOSE = Column("person", "int32", "", "whose answer it is, as in people.parquet; 0: everybody's. First come all rows of the "
               "person that the clip's answer is about, then those of others where something is known of them")
CALLED = Column("person_name", "text", "", "how that person is called; empty in a clip of one person")
"""In tables of windows that leave their run folder, where no people.parquet lies beside them."""

WINDOWS = FileSchema("windows.parquet", "The answer.", "a window and person", (
    WHOSE, START, END, Column("present", "bool", "", "whether any modality answers"), *_ANSWER, _NONE, _CONTRIBUTION, _QUALITY,
))  # fmt: skip
FRAMES = FileSchema("frames.parquet", "The answer at every frame: that of the windows around it.", "a frame and person", (
    WHOSE, Column("frame", "int32", "", FRAME.meaning), TIME,
    Column("faces", "int32", "faces", "how many were found; empty where the frame was not looked at"), *_ANSWER, _NONE,
))  # fmt: skip
FACES = FileSchema("faces.parquet", "The faces that were found; not there without a picture.", "a face in a frame", (
    Column("face", "int64", "", "number of the face, from 0"), FRAME, TIME,
    Column("shot", "int32", "", "number of the shot, from 0: one more at each cut"),
    Column("track_id", "int32", "", "the same for one person in one shot"),
    Column("main", "bool", "", "whether it belongs to the shot's main person"),
    Column("x", "float32", "pixels", "left edge of its box, in the picture as shown"),
    Column("y", "float32", "pixels", "upper edge"),
    Column("width", "float32", "pixels", "of the box"), Column("height", "float32", "pixels", "of the box"),
    Column("score", "float32", "0..1", "the detector's own"),
    Column("sharpness", "float32", "", "variance of the Laplacian of the crop at 64 x 64 pixels"),
    *(Column(f"{side}_eye_{axis}", "float32", "pixels", f"centre of the person's own {side} eye; empty where unknown")
      for side in ("right", "left") for axis in "xy"),
    Column("mouth", "float32", "", "how far the lips are apart, in distances between the eyes; empty where unknown"),
))  # fmt: skip
PEOPLE = FileSchema("people.parquet", "Who is seen or heard (docs/people.md).", "a person", (
    Column("person", "int32", "", "number, in the order of appearance; those who are only heard come last"),
    Column("name", "text", "", "the user's, or the subtitles'; empty without"),
    Column("given", "text", "", "the name that `--people` gave; empty without"),
    Column("main", "bool", "", "whether the answer is about this person: the main one, or `--face person=2`"),
    Column("first_seen", "float64", "s", "when the face is first seen; empty where it never is"),
    Column("last_seen", "float64", "s", "when it is last seen"),
    Column("pictures", "int32", "pictures", "looked-at ones that show the face"),
    Column("seconds_on_screen", "float64", "s", "for how long the face is seen"),
    Column("seconds_speaking", "float64", "s", "for how long the voice is heard"),
    Column("lip_sync", "float64", "-1..1", "how well the mouth fits the sound, a rank correlation; empty where it is too little "
           "seen in speech"),
    Column("tracks", "list of int64", "", "the tracks of faces.parquet that are this person's"),
))  # fmt: skip
TURNS = FileSchema("turns.parquet", "Who speaks when.", "a turn", (
    Column("start", "float64", "s", "where it begins"), Column("end", "float64", "s", "where it ends"),
    Column("speaker", "text", "", "a voice: one person may have several"),
    Column("person", "int32", "", "whose it is; 0 where nobody knows"),
    Column("on_screen", "bool", "", "whether that person's face is seen then"),
    Column("overlap", "bool", "", "whether somebody else speaks at the same time"),
))  # fmt: skip
FACE_PICTURES = FileSchema("face_pictures.parquet", "Small pictures of the faces, for the page; not there without a picture.",
                           "a picture", (
    Column("strip", "int32", "", "0: the main face, whoever that is; any other: one track"),
    Column("cell", "int32", "", "index in the strip: the clip's time in equal parts, from 0"),
    Column("track_id", "int32", "", "as in faces.parquet"), TIME, Column("jpeg", "bytes", "", "the picture"),
))  # fmt: skip
SCORES = FileSchema(f"{MODALITY}.parquet", "What one modality says; its source, or the reason for its absence, stands in the "
                    "file's metadata under `dyad`, as JSON.", "a window", (
    START, END, Column("present", "bool", "", "whether it answers; without an answer the numbers are empty"),
    *_basic("float32", "probability of"),
    Column("quality", "float32", "0..1", "how well it could see or hear the window: size and sharpness of the faces, share of "
           "speech, number of words (fusion.md); empty where unknown; scores of your own may bring any numbers"),
    Column("features", "list of float32", "", "the network's features; 0 or empty where absent", optional=True),
))  # fmt: skip
EVIDENCE = (
    FileSchema("static_face_evidence.parquet", "What each face shows.", "a face in a frame",
               (FRAME, TIME, TRACK, *_basic("float32", "probability of"))),
    FileSchema("dynamic_face_evidence.parquet", "The frames that the answer about a window rests on.", "a window and frame", (
        WINDOW, FRAME, TIME, TRACK, Column("attention", "float32", "0..1", "how much it counts: they sum to 1 in a sequence"),
        Column("caption", "text", "", "what the network was told of the window; empty for nothing", optional=True))),
    FileSchema("scene_labels_evidence.parquet", "How well each label fits the pictures.", "a window and label", (
        WINDOW, Column("kind", "text", "", "basic or compound"), Column("label", "text", "", "the emotion or compound"),
        Column("probability", "float32", "0..1", "they sum to 1 over a kind in each window"),
        Column("similarity", "float32", "-1..1", "cosine to the pictures' mean"),
        Column("text", "text", "", "the prompt that fits best"))),
    FileSchema("scene_context_evidence.parquet", "The descriptions.", "a window and description", (
        WINDOW, Column("text", "text", "", "the description"),
        Column("author", "text", "", "who or which model wrote it", optional=True),
        Column("source", "text", "", "the same, where a given table calls it so", optional=True),
        Column("label", "text", "", "the label that a model named; empty without", optional=True),
        Column("problem", "text", "", "why there is no description; empty where there is", optional=True))),
    FileSchema("voice_evidence.parquet", "The speech that was heard.", "a window and stretch of speech", (
        WINDOW, Column("speech_seconds", "float64", "s", "speech in the window"),
        Column("start", "float64", "s", "where the stretch begins; empty in a window without speech"),
        Column("end", "float64", "s", "where it ends"),
        Column("reference", "text", "", "by whose usual voice it was judged: speaker, clip, data set, training", optional=True),
        Column("reference_seconds", "float64", "s", "the speech that this is known from", optional=True),
        Column("trust", "float64", "0..1", "how much of it is not the next wider one's", optional=True),
        Column("unlike_training", "float64", "", "above 1: like nothing that was heard in training", optional=True))),
    FileSchema("text_evidence.parquet", "The words that were read.", "a window with words", (
        WINDOW, START, END, Column("text", "text", "", "the words"),
        Column("translated", "bool", "", "whether Whisper put any of them into English; then they count less", optional=True),
        Column("reader", "text", "", "which network read them: English, multilingual or both", optional=True))),
)  # fmt: skip
CUES = FileSchema(".stages/cues.parquet", "The transcript as a table; times are empty where words came without.", "a cue", (
    Column("start", "float64", "s", "where it begins"), Column("end", "float64", "s", "where it ends"),
    Column("text", "text", "", "the words"), Column("speaker", "text", "", "who says them; empty where unknown"),
))  # fmt: skip
SPEECH = FileSchema(".stages/speech.parquet", "What was heard, before it is related to how the voice usually sounds.",
                    "a window", (
    START, END, Column("present", "bool", "", "whether there is enough speech"),
    *_basic("float32", "by the training's reference, probability of"), Column("quality", "float32", "0..1", "empty"),
    Column("features", "list of float16", "", "standardised by the training; not there where nobody speaks", optional=True),
))  # fmt: skip
SPEECH_EVIDENCE = FileSchema(".stages/speech_evidence.parquet", "Where speech was found.", "a window and stretch of speech", (
    WINDOW, Column("speech_seconds", "float64", "s", "speech in the window"),
    Column("start", "float64", "s", "where the stretch begins; empty in a window without speech"),
    Column("end", "float64", "s", "where it ends")))
FRAME_TIMES = FileSchema(".stages/frame_times.parquet", "The times of the frames.", "a frame of the video", (
    Column("frame", "int32", "", FRAME.meaning), TIME,
    Column("sampled", "bool", "", "whether it was looked at"),
))  # fmt: skip
RUN_FILES: tuple[FileSchema, ...] = (
    FileSchema("result.json", "The whole answer; its fields are listed below. `reports/result.schema.json` is its JSON schema."),
    FileSchema("report.html", "The answer as a page, without need of a network."),
    FileSchema("poster.jpg", "The same moment, larger, for the page."),
    FileSchema("thumbnail.jpg", "A small picture of the moment that is surest; not there for sound alone."),
    WINDOWS, FRAMES, FACES, PEOPLE, TURNS,
    FileSchema("people/<person>/", "Of each person beside the one that the clip's answer is about: the scores of the face, voice "
               "and words, as above; only in a clip of several persons."),
    FileSchema("people.csv", "The people as a list, whose names you may edit: the next run takes them over."),
    FACE_PICTURES, SCORES, *EVIDENCE,
    FileSchema("face_embeddings.npz", "What the persons' faces are recognised by in other clips: `persons` [P], `looks` "
               "[P, 1024]; only with "
               "`dyad batch --same-people --keep-embeddings`. `dyad retention` removes it."),
    FileSchema("transcript.vtt", "The words with their times, WebVTT; not there without words."),
    FileSchema("settings.yaml", "Every setting of the run with its value: `--profile settings.yaml` runs alike."),
    FileSchema("log.txt", "What happened, a line each, with tracebacks of what failed."),
    FileSchema("<clip_id>.<ending>", "What `--export` asked for; see formats.md."),
    CUES, SPEECH, SPEECH_EVIDENCE, FRAME_TIMES,
    FileSchema(".stages/own_speech*.parquet", "The same of the main person's speech alone; only where others speak, too."),
    FileSchema(f".stages/{STAGE}.json", "That a stage is done: `key`, a digest of all it depends on, its `seconds`, and `notes`; "
               "or `failed`, the reason."),
    FileSchema(".stages/fused.npz", "The fused emotions before composition: arrays by name, and `names`, JSON."),
    FileSchema(".stages/composed.npz", "The compounds of each window: arrays by name, and `names`, JSON."),
    FileSchema(".stages/answers.jsonl", "What a server answered so far, a JSON object a line; only with such a backend."),
    FileSchema(".stages/asked", "A digest of what was asked: media, words and settings; another question gets another folder."),
    FileSchema(".stages/given*", "Words and descriptions of a data set's manifest, as this clip needed them."),
    FileSchema("work/", "Intermediate media; removed when the run has ended well."),
)  # fmt: skip
STATUS = FileSchema("status.csv", "How every clip of the manifest ended, in its order.", "a clip", (
    Column("clip_id", "text", "", "the clip's name, and that of its run folder; empty where the row gives none"),
    Column("state", "text", "", "done, degraded (the media has problems or a modality failed), failed, rejected or waiting"),
    Column("reason", "text", "", "what went wrong, in a sentence"), Column("path", "text", "", "the media file or its address"),
    Column("start", "float64", "s", "where in its file the clip begins; empty for its beginning"),
    Column("end", "float64", "s", "where in its file it ends; empty for its end"),
    Column("split", "text", "", "the manifest's"), Column("label", "text", "", "the manifest's, in Dyad's words"),
    Column("top", "text", "", "the compound that the clip shows by the mean over it; empty where none"),
    Column("emotion", "text", "", "the strongest basic emotion, on average over the windows"),
    Column("sureness", "float64", "0..1", "how likely the answer is right: top, or where that is empty emotion"),
    Column("duration", "float64", "s", "length of the clip"), Column("seconds", "float64", "s", "what all stages took"),
    Column(STAGE, "float64", "s", "what the stage took when it last ran"),
))  # fmt: skip
DATASET = FileSchema("dataset.parquet", "The windows of all clips that have an answer.", "a window", (
    Column("clip_id", "text", "", "the clip"), Column("split", "text", "", "the manifest's"),
    Column("label", "text", "", "the manifest's, in Dyad's words"), Column("speaker", "text", "", "the manifest's"),
    Column("segment_start", "float64", "s", "where in its file a segment begins; empty for a whole file"),
    Column("ended", "float64", "s since 1970", "when the clip ended"), *WINDOWS.columns,
))  # fmt: skip
SAME = FileSchema("same_people.csv", "Which persons of the clips are one; `--same-people` writes it, and you may edit it.",
                  "a person in a clip", (
    Column("same_person", "int64", "", "the same number for one person in all clips"),
    Column("name", "text", "", "the name that this person has most often; empty without"),
    Column("clip_id", "text", "", "the clip"), Column("person", "int32", "", "the person's number there, as in people.csv"),
    Column("main", "bool", "", "whether that clip's answer is about this person"),
    Column("seconds_on_screen", "float64", "s", "for how long the face is seen there"),
    Column("seconds_speaking", "float64", "s", "for how long the voice is heard there"),
    Column("by", "text", "", "what is compared with other clips: face, or voice of whom no picture shows"),
))  # fmt: skip
JOURNAL = FileSchema("journal.jsonl", "What has ended, only ever appended; of a clip's lines the last one counts.",
                     "a clip that ended, JSON", (
    Column("clip_id", "text", "", "the clip"), Column("fingerprint", "text", "", "a digest of all that its answer depends on"),
    Column("state", "text", "", "done, degraded or failed"), Column("reason", "text", "", "what went wrong, in a sentence"),
    Column("seconds", "object", "s", "by stage"), Column("answer", "object", "", "the answer in short: what the summary counts"),
    Column("ended", "float64", "s since 1970", "when it ended"),
    Column("folder", "text", "", "its run folder, where that has not the name of the clip"),
))  # fmt: skip
SUMMARY = FileSchema("summary.json", "The data set in figures.", "a field", (
    Column("dyad", "text", "", "version"), Column("manifest", "text", "", "what was read"),
    Column("profile", "text", "", "the settings' profile"),
    Column("notes", "list of text", "", "sentences about the manifest"),
    Column("trained_on", "object", "clips", "by modality: corpora that clips are of and that its model was trained on"),
    Column("clips", "object", "clips", "total, done, degraded, failed, rejected, skipped (done before)"),
    Column("seconds", "object", "s", "`media`: length of all clips; `stages`: total and mean of each"),
    Column("compounds", "object", "clips, s", "of each: the clips whose answer it is, and the seconds it is shown"),
    Column("alone", "object", "clips", "clips without a compound, by their strongest emotion; '' without evidence"),
    Column("metrics", "object", "0..1", "by kind of label (compounds, emotions) and what is counted (clips, windows, frames): "
           "items, clips, unanswered, uar, war, macro_f1, weighted_f1, their 95 % `intervals`, recall by class, confusion (rows "
           "`classes`, columns `answers`); empty without labels"),
    Column("modalities", "object", "clips", "clips in which each modality answers"),
    Column("people", "object", "persons, clips", "`total`: persons seen or heard in all clips; `several`: clips with more than "
           "one; `different`: faces that are not the same person's (`--same-people`); `shown`: persons by what they show by the "
           "mean over their clip, '' where nothing could be judged"),
    Column("reliability", "object", "0..1", "by kind of label: expected calibration error (`ece`), and windows, mean probability "
           "and share of right answers by bin; empty without labels"),
    Column("failures", "list of object", "clips", "reasons, the most frequent first, each with an example"),
))  # fmt: skip
DATASET_FILES: tuple[FileSchema, ...] = (
    STATUS, DATASET, SUMMARY,
    FileSchema("report.html", "A page about the data set, without need of a network."),
    FileSchema("confusion.png", "The confusion matrix as a picture; only with labels."), JOURNAL,
    FileSchema("<clip_id>/", "A run folder for each clip, as above."),
    SAME,
    FileSchema("exports/", "What `--export` asked for; see formats.md."),
    FileSchema(".references/", "How each person and all together usually sound and look, by digest, which is whose (models.md), "
               "and the estimated shares of the emotions (fusion.md); the digest of same_people.csv as it was written."),
    FileSchema(".dyad-lock", "Held while a run writes here; at an address it is `.dyad-lease.json`."),
)  # fmt: skip


def column_named(file: FileSchema, name: str) -> Column | None:
    """The column of this name, also where the schema has a place for it: a compound, a modality."""
    for column in (*file.columns, CALLED):
        if column.name == name:
            return column
    for of_modality in (_CONTRIBUTION, _QUALITY):
        if name.startswith(of_modality.name.removesuffix(MODALITY)):
            return next((column for column in file.columns if column.name == of_modality.name), None)
    return next((column for column in file.columns if column.name in (COMPOUND, STAGE)), None)
