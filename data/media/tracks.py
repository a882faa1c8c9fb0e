"""Which of several sound and subtitle tracks of a file is taken, and the sentences that say so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from data.media.languages import language_code, language_name

if TYPE_CHECKING:
    import av

TEXT_SUBTITLES = frozenset({"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text", "ttml"})
"""Codecs of subtitles that are text; others are pictures."""
StreamKind = TypeVar("StreamKind", bound="av.stream.Stream")


def is_decodable(stream: "av.stream.Stream") -> bool:
    """Whether there is a decoder for a stream."""
    return stream.codec_context is not None


def preferred(streams: Sequence[StreamKind]) -> StreamKind | None:
    """The stream marked as default, else the first; None without any."""
    from av.stream import Disposition

    marked = (stream for stream in streams if stream.disposition & Disposition.default)
    return next(marked, streams[0] if streams else None)


def sound_tracks(container: "av.container.InputContainer") -> "list[av.AudioStream]":
    """The sound tracks that can be decoded, in the order of the file."""
    return [stream for stream in container.streams.audio if is_decodable(stream)]


def subtitle_track(container: "av.container.InputContainer", language: str) -> "av.subtitles.stream.SubtitleStream | None":
    """The text subtitles to read: in `language` (a code, '' for any) first, then without a language, then the preferred ones.

    Forced ones, which hold only what is foreign, are no transcript.
    """
    from av.stream import Disposition

    texts = [one for one in _texts(container) if not one.disposition & Disposition.forced]
    for wanted in (language, "") if language else ():
        if found := preferred([stream for stream in texts if _language(stream) == wanted]):
            return found
    return preferred(texts)


def notes_on_tracks(
    container: "av.container.InputContainer", audio: "av.AudioStream | None",
    subtitles: "av.subtitles.stream.SubtitleStream | None", language: str,
) -> tuple[str, ...]:  # fmt: skip
    """Sentences about which of several sound and subtitle tracks were taken."""
    notes = []
    tracks, texts = sound_tracks(container), _texts(container)
    if audio is not None and len(tracks) > 1:
        numbers = [track.index for track in tracks]
        first = preferred(tracks)
        why = ", as the one that players prefer is silent" if first is not None and first.index != audio.index else ""
        named = f"track {numbers.index(audio.index) + 1}{_shown(audio)}"
        notes.append(f"The file has {len(tracks)} sound tracks; {named} is heard{why}. Choose another with --audio-track.")
    if subtitles is not None and len(texts) > 1:
        numbers = [track.index for track in texts]
        why = f", as the text network reads {language_name(language)}" if language and _language(subtitles) == language else ""
        named = f"track {numbers.index(subtitles.index) + 1}{_shown(subtitles)}"
        notes.append(f"The file has {len(texts)} subtitle tracks; {named} is read{why}.")
    return tuple(notes)


def _texts(container: "av.container.InputContainer") -> "list[av.subtitles.stream.SubtitleStream]":
    subtitles = [stream for stream in container.streams.subtitles if is_decodable(stream)]
    return [stream for stream in subtitles if stream.codec_context.name in TEXT_SUBTITLES]


def _language(stream: "av.stream.Stream") -> str:
    return language_code(stream.metadata.get("language", "")) or ""


def _shown(stream: "av.stream.Stream") -> str:
    language = stream.metadata.get("language", "")
    return f" ({language})" if language not in ("", "und") else ""
