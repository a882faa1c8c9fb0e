"""What a media file may claim: beyond it a file is damaged, or was made to use up memory and disk, and is refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import MediaError

if TYPE_CHECKING:
    import av

LOWEST_SAMPLE_RATE = 1000
"""Samples a second below which sound is damage; telephones have 8000."""
SLOWEST_FRAME_RATE = 1 / 600
"""Images a second below which a rate is damage."""


@dataclass(frozen=True)
class Limits:
    """The most that is read of a file: hours of it, millions of pixels an image, images and samples a second, channels of sound,
    and gigabytes that decoding writes."""

    hours: float = 12.0
    megapixels: float = 64.0
    frames_per_second: float = 1000.0
    sample_rate: int = 768_000
    channels: int = 64
    gigabytes: float = 40.0

    @property
    def pixels(self) -> int:
        """Pixels of an image at most."""
        return round(self.megapixels * 1e6)

    def check_streams(self, path: Path, video: "av.VideoStream | None", audio: "av.AudioStream | None") -> None:
        """MediaError when the file says that its images or its sound are larger than this, before any of it is decoded."""
        if video is not None:
            self.check_image(path, video.codec_context.width, video.codec_context.height)
        if audio is None:
            return
        channels, rate = audio.codec_context.channels, audio.codec_context.sample_rate
        if channels > self.channels:
            raise _refused(path, f"its sound has {channels} channels", f"{self.channels}", "channels")
        if rate > self.sample_rate:
            raise _refused(path, f"its sound has {rate:,} samples a second", f"{self.sample_rate:,}", "sample_rate")
        if 0 < rate < LOWEST_SAMPLE_RATE:
            raise MediaError(f"{path} says that its sound has {rate} samples a second: it is damaged; copy or record it again.")

    def check_image(self, path: Path, width: int, height: int) -> None:
        """MediaError for images of more pixels."""
        if width * height > self.pixels:
            raise self.too_large(path, f"{width} x {height} pixels, {width * height / 1e6:,.0f} megapixels")

    def too_large(self, path: Path, size: str) -> MediaError:
        """The error about images of this size."""
        return _refused(path, f"its images have {size}", f"{self.megapixels:g} megapixels", "megapixels")

    def check_times(self, path: Path, duration: float, frame_rate: float) -> None:
        """MediaError for a longer file (s) or one with more images a second; 0 images a second are none."""
        if 0 < frame_rate < SLOWEST_FRAME_RATE:
            raise MediaError(
                f"{path} says that an image lasts {_time(1 / frame_rate)}: it is damaged; copy or record it again."
            )
        if frame_rate > self.frames_per_second:
            shown = f"it has {frame_rate:,.0f} images a second"
            raise _refused(path, shown, f"{self.frames_per_second:,.0f}", "frames_per_second")
        if duration > self.hours * 3600:
            raise _refused(path, f"it lasts {_time(duration)}", f"{self.hours:g} hours", "hours")

    def check_written(self, path: Path, size: float) -> None:
        """MediaError when decoding writes more bytes."""
        if size > self.gigabytes * 1e9:
            raise MediaError(
                f"{path} becomes more than {self.gigabytes:g} GB when it is decoded, the limit; cut it into parts, lower "
                "decode.frames_per_second or decode.longest_side, or raise limits.gigabytes in the settings."
            )


USUAL = Limits()


def _refused(path: Path, claim: str, limit: str, setting: str) -> MediaError:
    remedy = f"it is damaged, or raise limits.{setting} in the settings"
    return MediaError(f"{path} says that {claim}, more than the {limit} that are read: {remedy}.")


def _time(seconds: float) -> str:
    for unit, name in ((365.25 * 86_400, "years"), (86_400, "days"), (3600, "hours")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.0f} s"
