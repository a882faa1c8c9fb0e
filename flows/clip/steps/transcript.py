"""The words of a clip."""

from collections.abc import Mapping

import pandas as pd

from data.files import write_text
from data.media.subtitles import to_vtt
from data.tables import write_table
from flows.backends.base import NotHere
from flows.backends.transcript import WHISPER
from flows.job import Job

inputs = WHISPER.inputs


def find_words(job: Job) -> Mapping[str, object]:
    """Take the words from where they are: given, beside the clip, in the file, or recognised by Whisper."""
    try:
        cues, origin = WHISPER.recognise(job)
    except NotHere as absent:
        notes = {"origin": "", "reason": absent.reason, "remedy": absent.remedy}
        write_table(job.folder.cues, pd.DataFrame({"start": [], "end": [], "text": []}), notes)
        job.folder.transcript.unlink(missing_ok=True)
        return {"absent": absent.reason}
    write_table(job.folder.cues, cues, {"origin": origin})
    write_text(job.folder.transcript, to_vtt(cues))
    return {"origin": origin}
