"""Faces: found, followed and cut out of moving pictures with real people in them."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from data.errors import InputError
from data.media.frames import Frame
from modalities.faces import detectors as face_detectors
from modalities.faces.crops import EYE_DISTANCE, FER_EYES, Square, cut, sharpness_of, square_of_landmarks
from modalities.faces.detectors import DETECTORS, Detector, Finder, choose_detector, open_mediapipe, overlap
from modalities.faces.find import COLUMNS, FaceOptions, FaceTable, find_faces
from modalities.faces.tracks import Sighting, Track, Tracker, main_tracks
from tests.waiting import fonts_are_known

DETECTOR_NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(bool(one.missing()), reason=one.missing())) for name, one in DETECTORS.items()
]
MORE_SPEAKERS = [pytest.param(name, marks=pytest.mark.long) for name in ("talking_1", "talking_2", "single_face")]
EYES = np.array([[203.0, 101.4], [246.6, 103.6]])
"""Pupils in scikit-image's portrait of an astronaut, read off the picture; she looks into the camera, smiling."""


def portrait(size: int = 300, mirrored: bool = False) -> np.ndarray:
    """The upper part of the portrait (public domain) with the head in it; `mirrored` makes a darker, second person."""
    part = cv2.resize(astronaut()[:300, 75:375], (size, size), interpolation=cv2.INTER_AREA)
    return (part[:, ::-1] * 0.6 + (0, 0, 50)).astype(np.uint8) if mirrored else part


def picture(*people: tuple[np.ndarray, int, int], grey: int = 140, size: tuple[int, int] = (640, 360)) -> np.ndarray:
    """People pasted at (left, top) onto a plain wall with a little noise; parts outside of the picture are lost."""
    wall = np.random.default_rng(7).normal(grey, 4, (size[1] + 800, size[0] + 800, 3)).clip(0, 255).astype(np.uint8)
    for person, left, top in people:
        wall[400 + top : 400 + top + len(person), 400 + left : 400 + left + person.shape[1]] = person
    return wall[400:-400, 400:-400].copy()


def clip(pictures: list[np.ndarray], step: float = 0.2, scale: float = 1.0) -> list[Frame]:
    return [Frame(5 * number, step * number, rgb, scale) for number, rgb in enumerate(pictures)]


def found(frames: list[Frame], folder: Path, detector: str = "opencv", **options: float) -> tuple[FaceTable, np.ndarray]:
    faces = find_faces(frames, FaceOptions(detector, 112, **options), folder / "crops.npy")  # type: ignore[arg-type]
    crops = np.load(folder / "crops.npy", allow_pickle=False)
    assert len(crops) == len(faces.table)
    assert faces.table.face.tolist() == list(range(len(crops)))
    assert faces.table.dtypes.astype(str).to_dict() == COLUMNS
    return faces, crops


def frames_of(path: Path, rate: float = 5.0) -> list[Frame]:
    """About `rate` pictures a second of a real clip."""
    with av.open(str(path)) as opened:
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in opened.decode(video=0)]
    step = max(round(len(shown) / (shown[-1][0] - shown[0][0]) / rate), 1) if len(shown) > 5 else 1
    return [Frame(number, time, rgb) for number, (time, rgb) in enumerate(shown) if number % step == 0]


# ---- one picture ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_box_and_eyes_are_where_the_face_is(tmp_path: Path, detector: str) -> None:
    faces, crops = found(clip([astronaut()] * 3), tmp_path, detector)
    assert faces.detector == detector
    assert faces.reason == ""
    assert crops.shape == (3, 112, 112, 3)
    row = faces.table.iloc[0]
    np.testing.assert_allclose([row.right_eye_x, row.right_eye_y, row.left_eye_x, row.left_eye_y], EYES.ravel(), atol=4)
    assert row.x < EYES[0, 0] < EYES[1, 0] < row.x + row.width
    assert row.y < 85 < 160 < row.y + row.height + 5
    assert faces.table.main.all()


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_boxes_are_in_pixels_of_the_source(tmp_path: Path, detector: str) -> None:
    small, _ = found(clip([astronaut()] * 3), tmp_path, detector)
    source, _ = found(clip([astronaut()] * 3, scale=2.5), tmp_path, detector)
    places = ["x", "y", "width", "height", "right_eye_x", "left_eye_y"]
    np.testing.assert_allclose(source.table[places], 2.5 * small.table[places], rtol=1e-5)


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_crops_of_a_tilted_head_are_upright(tmp_path: Path, detector: str) -> None:
    def tilted(degrees: float) -> np.ndarray:
        turn = cv2.getRotationMatrix2D((225, 115), degrees, 1.0)
        return cv2.warpAffine(astronaut(), turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)

    _, crops = found(clip([tilted(0), tilted(12), tilted(-12)]), tmp_path, detector)
    flat = crops.reshape(len(crops), -1).astype(float)
    assert len(crops) == 3
    assert np.corrcoef(flat)[0].min() > 0.9


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_boxes_are_clipped_to_the_picture(tmp_path: Path, detector: str) -> None:
    faces, crops = found(clip([astronaut()[72:, 180:].copy()] * 3), tmp_path, detector)
    assert len(crops) == 3
    assert (faces.table[["x", "y"]] >= 0).all(axis=None)
    assert (faces.table.x + faces.table.width <= 332).all()


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (17, 33), (30, 700), (541, 3)])
def test_odd_pictures_without_a_face(tmp_path: Path, detector: str, shape: tuple[int, int]) -> None:
    faces, crops = found(clip([np.full((*shape, 3), 90, np.uint8)]), tmp_path, detector)
    assert faces.reason == f"No face was found in the 1 sampled pictures (detector: {detector})."
    assert crops.shape == (0, 112, 112, 3)


def test_a_clip_without_pictures(tmp_path: Path) -> None:
    faces, _ = found([], tmp_path)
    assert "0 sampled pictures" in faces.reason


def test_small_faces_are_left_out_when_asked(tmp_path: Path) -> None:
    pictures = clip([astronaut()] * 3)
    assert len(found(pictures, tmp_path, smallest=150)[1]) == 0
    assert len(found(pictures, tmp_path, smallest=80)[1]) == 3
    assert len(found(pictures, tmp_path, minimum_score=0.99)[1]) == 0


# ---- crops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 25, -70])
@pytest.mark.parametrize("scale", [0.3, 1.0, 6.0])
def test_eyes_and_mouth_land_where_fer_pictures_have_them(degrees: float, scale: float) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    eyes = scale * np.array([[-22.0, 0], [22, 0]]) @ turn.T + 600
    mouth = scale * np.array([0.0, 45]) @ turn.T + 600
    rgb = np.zeros((1200, 1200, 3), np.uint8)
    for (x, y), colour in zip((*eyes, mouth), np.eye(3) * 255, strict=True):
        cv2.circle(rgb, (round(x), round(y)), max(round(6 * scale), 2), colour.tolist(), -1)
    crop = cut(rgb, square_of_landmarks(eyes, mouth, np.nan), 112).astype(float)
    rows, columns = np.mgrid[:112, :112] + 0.5
    spots = crop.transpose(2, 0, 1) / crop.sum((0, 1))[:, None, None] / 112
    places = [((columns * spot).sum(), (rows * spot).sum()) for spot in spots]
    across = 44 / max(44 / EYE_DISTANCE, 45 / 0.40) / 2
    expected = [(0.5 - across, FER_EYES[2]), (0.5 + across, FER_EYES[2]), (0.5, 0.78)]
    np.testing.assert_allclose(places, expected, atol=0.03 if scale < 1 else 0.015)


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_crops_of_a_real_face_have_its_eyes_there(tmp_path: Path, detector: str) -> None:
    _, crops = found(clip([astronaut()] * 3), tmp_path, detector)
    framed = cv2.copyMakeBorder(cv2.resize(crops[0], (224, 224)), 100, 100, 100, 100, cv2.BORDER_REPLICATE)
    row = found(clip([framed] * 3), tmp_path, detector)[0].table.iloc[0]
    places = (np.array([row.right_eye_x, row.left_eye_x, row.right_eye_y, row.left_eye_y]) - 100) / 224
    np.testing.assert_allclose(places, [*FER_EYES, FER_EYES[2]], atol=0.045)


def test_a_turned_head_keeps_its_size() -> None:
    frontal = square_of_landmarks(np.array([[80.0, 100], [120, 100]]), np.array([100.0, 143]), np.nan)
    turned = square_of_landmarks(np.array([[95.0, 100], [115, 100]]), np.array([110.0, 143]), np.nan)
    assert turned.side == pytest.approx(frontal.side, rel=0.05)


def test_shrinking_averages_and_edges_are_repeated() -> None:
    lines = np.zeros((800, 800, 3), np.uint8)
    lines[:, ::2] = 255
    shrunk = cut(lines, Square(400, 400, 600), 60)
    assert np.abs(shrunk.astype(int) - 127).max() <= 3
    beyond = cut(np.full((40, 40, 3), 77, np.uint8), Square(0, 0, 60), 32)
    assert (beyond == 77).all()
    assert (cut(np.full((40, 40, 3), 77, np.uint8), Square(900, -900, 60, 0.4), 32) == 77).all()


def test_sharpness_falls_with_blur() -> None:
    face = astronaut()[60:172, 170:282]
    values = [sharpness_of(cv2.GaussianBlur(face, (0, 0), sigma)) for sigma in (0.5, 2, 6)]
    assert values[0] > 2 * values[1] > 4 * values[2] > 0


# ---- tracks --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_two_people_keep_their_numbers_through_a_gap(tmp_path: Path, detector: str) -> None:
    near, far = portrait(300), portrait(230, mirrored=True)

    def people(number: int) -> list[tuple[np.ndarray, int, int]]:
        both = [(near, 10 + 8 * number, 40 + number), (far, 390 - 4 * number, 90)]
        return both[:1] if 4 <= number <= 6 else both

    faces, crops = found(clip([picture(*people(number)) for number in range(12)]), tmp_path, detector)
    table = faces.table
    assert table.groupby("track_id").size().to_dict() == {0: 12, 1: 9}
    assert table[table.track_id == 0].x.is_monotonic_increasing
    assert table[table.track_id == 1].time_s.round(1).tolist() == [0.0, 0.2, 0.4, 0.6, 1.4, 1.6, 1.8, 2.0, 2.2]
    assert set(table[table.main].track_id) == {int(table.groupby("track_id").width.mean().idxmax())}
    blue = crops[:, :, :, 2].mean((1, 2)) - crops[:, :, :, 0].mean((1, 2))
    assert ((blue > 0) == (table.track_id == table.track_id[blue.argmax()])).all()


def test_a_long_gap_starts_a_new_track(tmp_path: Path) -> None:
    seen = [picture((portrait(170), 100, 100))] * 4
    faces, _ = found(clip([*seen, *[picture()] * 8, *seen]), tmp_path)
    assert faces.table.track_id.tolist() == [0] * 4 + [1] * 4
    faces, _ = found(clip([*seen, *[picture()] * 8, *seen]), tmp_path, gap=2.0)
    assert faces.table.track_id.tolist() == [0] * 8


def test_a_cut_starts_new_tracks_and_each_shot_has_a_main_one(tmp_path: Path) -> None:
    first = picture((portrait(), 20, 30), grey=60)
    second = picture((portrait(mirrored=True), 320, 30), (portrait(240), 20, 60), grey=220)
    faces, _ = found(clip([first] * 4 + [second] * 4), tmp_path)
    shots = faces.table.groupby("shot").track_id.agg(set).to_dict()
    assert shots == {0: {0}, 1: {1, 2}}
    main = faces.table[faces.table.main]
    assert main.groupby("shot").size().to_dict() == {0: 4, 1: 4}
    assert main[main["shot"] == 1].x.min() > 320


def test_a_change_behind_a_face_that_stays_is_no_cut(tmp_path: Path) -> None:
    pictures = [picture((portrait(), 100, 30), grey=grey) for grey in (60, 60, 220, 60, 60)]
    faces, _ = found(clip(pictures), tmp_path)
    assert faces.table.track_id.tolist() == [0] * 5
    assert faces.table["shot"].tolist() == [0] * 5


def sighting(x: float, red: float, score: float = 0.9, width: float = 50.0) -> Sighting:
    """A face at `x` whose crop has the share `red` of one colour."""
    return Sighting(np.array([x, 100.0, width, width]), score, np.sqrt(np.array([red, 1 - red], np.float32)))


def follow(tracker: Tracker, time_s: float, seen: list[Sighting]) -> list[Track]:
    """The tracks of faces seen in the next frame of one shot."""
    assert not tracker.jumps(picture())
    return tracker.follow(time_s, seen)


def test_people_who_cross_are_told_apart_by_colour() -> None:
    tracker = Tracker()
    for number in range(11):
        seen = [sighting(100 + 20 * number, 0.95), sighting(300 - 20 * number, 0.2)]
        tracks = follow(tracker, 0.2 * number, seen[:: 1 if number % 2 else -1])
        assert [track.number for track in tracks[:: 1 if number % 2 else -1]] == [1, 0]


def test_a_face_may_have_moved_farther_the_more_time_has_passed() -> None:
    def numbers(passed: float) -> list[int]:
        tracker = Tracker(gap=3.0)
        seen = (follow(tracker, time_s, [sighting(x, 0.5)]) for time_s, x in ((0.0, 100.0), (passed, 200.0)))
        return [track.number for tracks in seen for track in tracks]

    assert numbers(0.2) == [0, 1], "two widths in a fifth of a second are another person"
    assert numbers(1.0) == [0, 0]


def test_main_is_the_largest_sum_of_area_and_score() -> None:
    tracker = Tracker()
    for number in range(6):
        often, large = sighting(100, 0.5, 0.9), sighting(400, 0.5, 0.9, width=90)
        follow(tracker, 0.2 * number, [often, large] if number < 2 else [often])
    assert main_tracks(tracker.tracks) == {1}
    follow(tracker, 1.2, [sighting(100, 0.5, 0.9)])
    assert main_tracks(tracker.tracks) == {0}


def test_a_single_unsure_face_is_an_error_of_the_detector() -> None:
    tracker = Tracker()
    follow(tracker, 0.0, [sighting(100, 0.5, 0.6), sighting(400, 0.5, 0.9)])
    assert [track.counts for track in tracker.tracks] == [False, True]
    assert main_tracks(tracker.tracks) == {1}


# ---- the whole -----------------------------------------------------------------------------------------------------


def test_the_same_clip_gives_the_same_faces(tmp_path: Path) -> None:
    pictures = clip([picture((portrait(), 20 * number, 30)) for number in range(5)])
    (first, one), (second, two) = found(pictures, tmp_path), found(pictures, tmp_path)
    assert first.table.equals(second.table)
    assert (one == two).all()


def test_every_picture_is_reported_and_a_failure_leaves_no_file(tmp_path: Path) -> None:
    seen: list[int] = []

    def pictures() -> Iterator[Frame]:
        yield from clip([picture((portrait(), 20, 30))] * 4)
        raise OSError("the frames cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        find_faces(pictures(), FaceOptions("opencv", 112), tmp_path / "crops.npy", lambda frame: seen.append(frame.frame))
    assert seen == [0, 5, 10, 15]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        rgb = picture((portrait(), 20, 30))
        tracemalloc.start()
        find_faces((Frame(n, n / 5, rgb.copy()) for n in range(count)), FaceOptions("opencv", 112), tmp_path / "crops.npy")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(5)
    assert peak(40) < 1.2 * peak(10)


def test_unknown_and_missing_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="choose auto, mediapipe or opencv"):
        choose_detector("yolo")
    for name in [name for name in sys.modules if name.startswith("mediapipe.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mediapipe", None)  # Python's own way to make an import fail
    assert choose_detector("auto").name == "opencv"
    with pytest.raises(InputError, match="MediaPipe cannot be imported"):
        choose_detector("mediapipe")


@pytest.mark.slow
@pytest.mark.skipif(bool(DETECTORS["mediapipe"].missing()), reason=DETECTORS["mediapipe"].missing())
def test_mediapipe_keeps_quiet_and_other_words_pass(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from skimage.data import astronaut; from data.media.frames import Frame\n"
        "from modalities.faces.find import *\nfrom modalities.faces.detectors import quiet_stderr\n"
        "frames = [Frame(n, n / 5, astronaut()) for n in range(2)]\n"
        f"assert len(find_faces(frames, FaceOptions('mediapipe', 112), Path({str(tmp_path)!r}) / 'crops.npy').table) == 2\n"
        "assert 'matplotlib.figure' not in sys.modules\nimport matplotlib.pyplot as plt; assert plt.Figure().axes == []\n"
        "with quiet_stderr(): print('W0000 inference_feedback_manager', 'a real warning', sep='\\n', file=sys.stderr)\n"
    )
    root = Path(face_detectors.__file__).parents[2]
    fonts_are_known()
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "a real warning\n"


# ---- following -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(DETECTORS["mediapipe"].missing()), reason=DETECTORS["mediapipe"].missing())
def test_faces_are_followed_where_a_search_finds_them_and_searched_when_that_may_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []

    @contextmanager
    def counted() -> Iterator[Finder]:
        with open_mediapipe() as finder:
            yield replace(finder, search=lambda rgb, known=(): searched.append(1) or finder.search(rgb, known))

    monkeypatch.setitem(DETECTORS, "mediapipe", Detector("mediapipe", lambda: "", counted))
    walks = [picture((portrait(200), 20 + 12 * number, 60)) for number in range(8)]
    leaves = [picture() for _ in range(8)]
    comes = [picture((portrait(200, mirrored=True), 400 - 12 * number, 60)) for number in range(8)]
    frames = clip([*walks, *leaves, *comes])

    whole, _ = found(frames, tmp_path, "mediapipe", search_every=0.0)
    assert len(searched) == len(frames)
    searched.clear()
    followed, _ = found(frames, tmp_path, "mediapipe")
    # Who walks is searched for at first and after a second; who is gone, for a second in every image; who comes, when it is time.
    assert len(searched) <= 13
    assert whole.table.track_id.nunique() == followed.table.track_id.nunique() == 2
    both = whole.table.merge(followed.table, on=["frame", "track_id"], suffixes=("", "_other"))
    assert len(whole.table) - len(both) <= 4, "who comes is found within a second"
    assert len(followed.table) == len(both), "nobody is followed onto an empty wall"
    again, _ = found(frames, tmp_path, "mediapipe")
    assert again.table.equals(followed.table), "graphs that are used again remember nothing"
    boxes, others = (both[[f"{name}{end}" for name in ("x", "y", "width", "height")]].to_numpy() for end in ("", "_other"))
    assert min(overlap(*pair) for pair in zip(boxes, others[:, None], strict=True)) > 0.9


# ---- real clips ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("detector", DETECTOR_NAMES)
@pytest.mark.parametrize("name", ["expressive_4", "speech_podium", *MORE_SPEAKERS])
def test_one_speaker_is_one_track(shared: Path, tmp_path: Path, detector: str, name: str) -> None:
    frames = frames_of(shared / "datasets" / "media" / f"{name}.mp4")[:20]
    faces, _ = found(frames, tmp_path, detector)
    assert set(faces.table.track_id) == {0}
    assert len(faces.table) >= 0.95 * len(frames)


@pytest.mark.slow
@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_no_faces_where_there_are_none(shared: Path, tmp_path: Path, detector: str) -> None:
    media = shared / "datasets" / "media"
    assert len(found(frames_of(media / "no_face.mp4"), tmp_path, detector)[0].table) == 0
    times = found(frames_of(media / "face_then_none.mov"), tmp_path, detector)[0].table.time_s
    assert len(times) >= 10
    assert times.max() < 2.5


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_small_faces_of_a_group_are_three_tracks(shared: Path, tmp_path: Path, detector: str) -> None:
    faces, _ = found(frames_of(shared / "datasets" / "media" / "group_five_frames.mp4"), tmp_path, detector)
    assert faces.table.track_id.nunique() == 3
    assert faces.table.width.max() < 40


@pytest.mark.slow
@pytest.mark.parametrize("detector", DETECTOR_NAMES)
def test_cuts_of_a_concert_part_the_singer_from_the_audience(shared: Path, tmp_path: Path, detector: str) -> None:
    faces, _ = found(frames_of(shared / "datasets" / "media" / "crowd_10s.mp4"), tmp_path, detector)
    sings = faces.table.time_s.between(3.5, 7.9)
    singer = faces.table[sings]
    assert singer[singer.main].track_id.nunique() == 1
    assert len(singer[singer.main]) >= 15
    assert set(singer.track_id).isdisjoint(faces.table[~sings].track_id)
