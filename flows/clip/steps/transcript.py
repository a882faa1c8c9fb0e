"""The words of a clip."""

from collections.abc import Mapping

import pandas as pd

from data.tables import write_table
from flows.backends.base import NotHere
from flows.backends.transcript import WHISPER, given_transcript
from flows.clip.words import write_words
from flows.job import Job
from modalities.transcript.whisper import GIVE_WORDS

inputs = WHISPER.inputs


def find_words(job: Job) -> Mapping[str, object]:
    """Take the words from where they are: given, beside the clip, in the file, or recognised by Whisper."""
    try:
        words = WHISPER.recognise(job)
    except NotHere as absent:
        notes: dict[str, object] = {"origin": "", "reason": absent.reason, "remedy": absent.remedy}
        write_table(job.folder.cues, pd.DataFrame({"start": [], "end": [], "text": []}), notes)
        job.folder.transcript.unlink(missing_ok=True)
        return {"absent": absent.reason, "notes": list(given_transcript(job).notes)}
    notes = {"origin": words.origin, "rejected": words.rejected}
    told = {"notes": list(words.notes), "problems": list(words.problems)}
    if words.reason:
        notes |= {"origin": "", "reason": words.reason, "remedy": GIVE_WORDS}
    write_table(job.folder.cues, words.cues, notes)
    if words.cues.empty:
        job.folder.transcript.unlink(missing_ok=True)
    else:
        write_words(job.folder, words.cues)
    return {"origin": words.origin, **told} | ({"absent": notes["reason"]} if "reason" in notes else {})
