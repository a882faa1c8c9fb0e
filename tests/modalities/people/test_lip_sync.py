"""Whether a mouth fits the sound."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from data.people import FITS, PEOPLE
from modalities.people.find import People, lip_syncs
from modalities.people.lip_sync import LEAST, STEP, lip_sync, loudness
from reports.answer import out_of_step
from reports.result import people_entries

SECONDS = 30.0


@pytest.fixture(scope="module")
def spoken() -> tuple[pd.DataFrame, np.ndarray]:
    """A mouth that opens with the syllables of a sound, looked at five times a second: rows of faces, and the wave."""
    rng = np.random.default_rng(0)
    syllables = rng.uniform(0, 0.2, round(SECONDS / 0.2)) * rng.choice([0.02, 1.0], round(SECONDS / 0.2), p=[0.3, 0.7])
    levels = np.repeat(syllables, 3200)
    times = np.arange(0, SECONDS, 0.2) + 0.1
    opening = levels[(times * 16_000).astype(int)] + rng.normal(0, 0.06, len(times))  # it does not tell all
    faces = pd.DataFrame({"track_id": 0, "time_s": times + 0.05, "mouth": opening})
    return faces, (levels * rng.standard_normal(len(levels))).astype(np.float32)


def test_a_mouth_fits_its_own_sound_and_no_other(spoken: tuple[pd.DataFrame, np.ndarray], tmp_path: Path) -> None:
    faces, wave = spoken
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    loud = loudness(tmp_path / "a.wav")
    assert len(loud) == round(SECONDS / STEP)
    np.testing.assert_allclose(loud[:5], (wave[:1600].reshape(5, -1) ** 2).mean(1), rtol=1e-2, atol=1e-6)
    assert lip_sync(faces, (), loud) > 0.3
    louder = lip_sync(faces, (), 4 * loud)
    assert louder == pytest.approx(lip_sync(faces, (), loud), abs=0.02), "how loud it is played says nothing"
    assert abs(lip_sync(faces, (), np.roll(loud, round(7.7 / STEP)))) < 0.15
    assert np.isnan(lip_sync(faces[faces["time_s"] < LEAST - 1], (), loud)), "too little is seen"
    assert np.isnan(lip_sync(faces, [(0.0, SECONDS - 5)], loud)), "while somebody else speaks nothing is learnt"
    assert np.isnan(lip_sync(faces.assign(mouth=np.nan), (), loud))


def test_over_a_band_nothing_is_said_of_a_mouth(spoken: tuple[pd.DataFrame, np.ndarray], tmp_path: Path) -> None:
    faces, wave = spoken
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    soundfile.write(tmp_path / "b.wav", np.random.default_rng(1).normal(0, 0.1, len(wave)), 16_000)
    voice, band = loudness(tmp_path / "a.wav"), loudness(tmp_path / "b.wav")
    verse = np.arange(len(band)) < len(band) // 2
    for song in (band, voice + band, np.where(verse, 0.01 * band, band)):
        assert np.isnan(lip_sync(faces, (), song))
    assert lip_sync(faces, (), voice + 0.001 * band) > 0.3


def test_a_dubbed_person_is_said_with_their_name(spoken: tuple[pd.DataFrame, np.ndarray], tmp_path: Path) -> None:
    faces, wave = spoken
    people = pd.DataFrame([dict.fromkeys(PEOPLE, 0)]).assign(person=1, name="Ada", seconds_speaking=20.0, tracks=[[0]])
    turns = pd.DataFrame({"start": [0.0], "end": [SECONDS], "person": [1]})
    fits = []
    for name, sound in (("own.wav", wave), ("other.wav", np.roll(wave, 16_000 * 11))):
        soundfile.write(tmp_path / name, sound, 16_000)
        fits.append(lip_syncs(People(people, turns), faces, loudness(tmp_path / name))[0])
    assert fits[0] > 0.3
    assert fits[1] < FITS
    people = people.assign(main=False, first_seen=0.0, last_seen=0.0)
    entries = [people_entries(people.assign(lip_sync=one), {}) for one in (*fits, np.nan)]
    right, (told,), unknown = map(out_of_step, entries)
    assert told.startswith("The mouth of Ada does not go with the voice")
    assert right == unknown == []
    short = People(people.assign(seconds_speaking=LEAST / 3), turns)
    assert np.isnan(lip_syncs(short, faces, loudness(tmp_path / "own.wav"))).all()
