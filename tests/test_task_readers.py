"""Readers of MTL-NAE, FineGym-NAE, CoT-AFA and EE4D-DescCoach, on the irregularities of what is published."""

import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from mm_adapter.tasks.cot_afa.files import CAPTIONS, COMMENTS, SHEET, STEPS, read_cot_afa, read_steps
from mm_adapter.tasks.cot_afa.miniature import write_gym
from mm_adapter.tasks.desccoach import DESCCOACH
from mm_adapter.tasks.desccoach.files import DIMENSIONS, FILE, known_dimension, read_desccoach
from mm_adapter.tasks.desccoach.miniature import add_commentary
from mm_adapter.tasks.nae import NAE
from mm_adapter.tasks.nae.files import ANNOTATIONS, dive_actions, read_nae
from mm_adapter.tasks.nae.miniature import write_dives
from mm_data.folders import pose_stretches, read_clips
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_items
from mm_data.tasks.folder import build_task_folder


@pytest.fixture(scope="module")
def dives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dives")
    assert write_dives(root, 32, seed=0, workers=1, videos=False) == {"train": 24, "test": 8}
    return root


@pytest.fixture(scope="module")
def gym(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gym")
    write_gym(root, 32, seed=0, workers=1, videos=False)
    return root


@pytest.fixture
def scratch(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A writable copy of the data set that the test is parametrised with."""
    return Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "copy"))


def notes(data) -> dict[str, int]:
    found: dict[str, int] = {}
    for funnel in data.funnels:
        found |= dict(funnel.dropped) | dict(funnel.noted)
    return found


# --- NAE -------------------------------------------------------------------------------------------------------------


def test_a_dive_is_read_with_numpy_keys_and_five_texts(dives: Path) -> None:
    data = read_nae(dives)
    first = data.items[0]
    assert first.item_id == "1_1" and first.cluster == "1" and len(first.references) == 5 and data.synthetic
    assert first.truth.score is not None and first.facts["difficulty"] == pytest.approx(first.facts["difficulty"])
    form = NAE.format(data.knowledge, NAE.options())
    for item in data.items:
        for text in item.references:
            read = form.parse(text)
            assert (read.score, read.actions and sorted(read.actions)) == (
                item.truth.score,
                sorted(item.truth.actions or []),
            )
    assert notes(data) == {"no video: published features are needed": 32}


def test_codes_of_a_dive_become_actions() -> None:
    codes = {"armstand": 1, "rotation_type": 2, "ss_no": 5, "tw_no": 3, "position": 2}
    assert dive_actions(codes) == ["armstand", "backward", "2.5 somersaults", "1.5 twists", "pike"]
    for name, value in (("rotation_type", -1), ("position", -1), ("rotation_type", 4), ("ss_no", -1), ("tw_no", 1.5)):
        with pytest.raises(IndexError, match=f"{name} {value}"):
            dive_actions({**codes, name: value})


@pytest.mark.parametrize("scratch", ["dives"], indirect=True)
def test_irregular_nae_files(scratch: Path) -> None:
    annotations = pickle.loads((scratch / ANNOTATIONS).read_bytes())
    keys = sorted(annotations)
    del annotations[keys[0]]["final_score"]
    annotations[keys[1]]["rotation_type"] = 9
    (scratch / ANNOTATIONS).write_bytes(pickle.dumps({(str(v), i): a for (v, i), a in annotations.items()}, protocol=0))
    lines = (scratch / "train.caption.tsv").read_text().splitlines()
    key, _, texts = lines[2].partition("\t")
    lines[2] = f"frames/{key}.tsv\t" + json.dumps(
        [*json.loads(texts), {"caption": " "}, {"caption": "A two - part  dive , 3."}]
    )
    lines[3] = lines[3].partition("\t")[0] + "\t[]"
    (scratch / "train.caption.tsv").write_text("\n".join([*lines, "99_1\t[]", ""]))
    data = read_nae(scratch)
    found = notes(data)
    assert found["no score"] == 1 and found["no narrative"] == 1 and found["captions that are empty or repeated"] == 1
    assert any(reason.startswith("unknown code of the dive") for reason in found)
    assert found["captions of a performance that is in no split"] == 1
    assert "A two-part dive , 3." in next(i for i in data.items if i.item_id == key).references

    (scratch / "train.caption.tsv").write_text("1_1 no tab")
    with pytest.raises(ValueError, match=r"train\.caption\.tsv, line 1: expected a key, a tab"):
        read_nae(scratch)
    (scratch / "train_split_0.pkl").write_bytes((scratch / "test_split_0.pkl").read_bytes())
    shutil.copy(scratch / "test.caption.tsv", scratch / "train.caption.tsv")
    with pytest.raises(ValueError, match="is in the training and in the test split"):
        read_nae(scratch)


@pytest.mark.parametrize("scratch", ["dives"], indirect=True)
def test_pickles_that_run_code_are_refused(scratch: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (scratch / "touched",))

    (scratch / ANNOTATIONS).write_bytes(pickle.dumps({(1, 1): Evil()}))
    with pytest.raises(ValueError, match="refused, asks for"):
        read_nae(scratch)
    assert not (scratch / "touched").exists()
    (scratch / ANNOTATIONS).write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="expected a dict, found list"):
        read_nae(scratch)


def test_finegym_takes_its_actions_from_the_element_lists(tmp_path: Path) -> None:
    keys = {
        "train": [("abc_E_1_2", "A_0003_0005"), ("abc_E_1_2", "A_0006_0007")],
        "test": [("xyz_E_5_9", "A_0001_0002")],
    }
    annotations = {key: {"final_score": 13.2 + n} for n, key in enumerate([*keys["train"], *keys["test"]])}
    (tmp_path / ANNOTATIONS).write_bytes(pickle.dumps(annotations))
    for split, own in keys.items():
        (tmp_path / f"{split}_split_0.pkl").write_bytes(pickle.dumps(own))
        lines = [
            f"{v}_{i}\t{json.dumps([{'caption': 'A switch leap with half turn, 13.2 points.'}])}\n" for v, i in own
        ]
        (tmp_path / f"{split}.caption.tsv").write_text("".join(lines))
    with pytest.raises(FileNotFoundError, match=r"gym99_categories\.txt is missing"):
        read_nae(tmp_path)
    (tmp_path / "gym99_categories.txt").write_text("Clabel: 0; set: 1; Glabel: 3; switch leap with half turn\n\nClabel: 1; set: 2; Glabel: 4; salto\n")  # fmt: skip
    (tmp_path / "gym99_train_element_v1.1.txt").write_text("abc_E_1_2_A_0003_0005 0\n")
    (tmp_path / "gym99_val_element.txt").write_text("xyz_E_5_9_A_0001_0002 0\n")
    data = read_nae(tmp_path)
    assert [item.truth.actions for item in data.items] == [["switch leap with half turn"]] * 2
    assert notes(data)["no actions"] == 1 and not data.synthetic


# --- CoT-AFA ---------------------------------------------------------------------------------------------------------


def test_cot_afa_is_read_as_it_is(gym: Path) -> None:
    data = read_cot_afa(gym)
    found = notes(data)
    assert found["empty explanation"] == 1 and found["a class without steps"] == 1
    assert found["a mark that is neither 0 nor 1"] == 1
    assert {item.split for item in data.items} == {"train", "test"} and sum(i.split == "test" for i in data.items) == 8
    assert data.knowledge["steps"]["squat"][0] == "Stand with the feet at shoulder width." and len(data.knowledge["steps"]["squat"]) == 6  # fmt: skip
    truth = json.loads((gym / "truth.json").read_text())
    for item in data.items:
        assert item.truth.verdict == ("non-standard" if truth[item.item_id]["fault"] else "standard"), (
            "marks as text too"
        )


@pytest.mark.parametrize("scratch", ["gym"], indirect=True)
def test_a_sheet_without_headers_and_texts_in_latin1(scratch: Path) -> None:
    rows = list(openpyxl.load_workbook(scratch / SHEET).worksheets[0].iter_rows(values_only=True))
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in [*rows[1:], rows[1], (None,) * 10, ("not a clip",)]:
        book.active.append(row)
    book.save(scratch / SHEET)
    name = str(rows[1][0])
    (scratch / COMMENTS / f"{name}_with_label.txt").write_bytes("The squat action is bad. Déjà vu.".encode("latin1"))
    (scratch / COMMENTS / f"{rows[2][0]}_with_label.txt").unlink()
    found = notes(read_cot_afa(scratch))
    assert found["listed twice"] == 1 and found["no clip name"] == 1 and found["no explanation file"] == 1
    assert found["explanations that are not UTF-8, read as Latin-1"] == 1
    marked_bad = rows[1][5] in (1, "1")
    assert found.get("explanations that contradict the sheet's mark", 0) == (not marked_bad)


@pytest.mark.parametrize("scratch", ["gym"], indirect=True)
def test_a_mark_between_0_and_1_is_none(scratch: Path) -> None:
    """Rounding would make a verdict of it."""
    before = {item.item_id: item.truth.verdict for item in read_cot_afa(scratch).items}
    book = openpyxl.load_workbook(scratch / SHEET)
    sheet = book.worksheets[0]
    rows = [row for row in sheet.iter_rows(min_row=2) if str(row[0].value) in before]
    odd = [0.5, 1.9, -0.7, "0.9", 2, "inf", "nan", None]
    for row, mark in zip(rows, odd, strict=False):
        row[5].value = mark  # type: ignore[assignment]
    for row, mark in zip(rows[8:], ["1.0", 0.0], strict=False):
        row[5].value = mark  # type: ignore[assignment]
    book.save(scratch / SHEET)
    data = read_cot_afa(scratch)
    after = {item.item_id: item.truth.verdict for item in data.items}
    assert before.keys() - after.keys() == {str(row[0].value) for row in rows[:8]}
    assert notes(data)["a mark that is neither 0 nor 1"] == 1 + len(odd)
    assert after[str(rows[8][0].value)] == "non-standard" and after[str(rows[9][0].value)] == "standard"


@pytest.mark.parametrize("scratch", ["gym"], indirect=True)
def test_broken_cot_afa_files_are_named(scratch: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["name", "label"])
    content = io.BytesIO()
    book.save(content)
    for name, broken, message in (
        (SHEET, content.getvalue(), "has no column 视频名字"),
        (SHEET, b"PK\x03\x04 cut off", "not a readable sheet"),
        (CAPTIONS, b'{"annotations": [{"image_id": "01_01"}]}', "expected COCO's annotations"),
        (CAPTIONS, b'{"annotations": [{"image_id": "01_01", "caption": " "}]}', "1 explanations are empty"),
        (STEPS, b'{"squat": "stand"}', "the steps of 'squat' are not a list"),
        (STEPS, b"[]", "expected actions with lists of steps"),
    ):
        good = (scratch / name).read_bytes()
        (scratch / name).write_bytes(broken)
        with pytest.raises(ValueError, match=message):
            read_cot_afa(scratch)
        (scratch / name).write_bytes(good)
    assert list(read_steps(scratch / STEPS))[:2] == ["squat", "lunge"]


# --- DescCoach -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coaching(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny miniature with DescCoach's commentary and ratings beside it."""
    root = tmp_path_factory.mktemp("coaching")
    for path in (tiny / "miniature").iterdir():
        (root / path.name).symlink_to(path)
    (root / "annotations").unlink()
    shutil.copytree(tiny / "miniature" / "annotations", root / "annotations")
    add_commentary(root, 48, seed=0)
    return root


def test_desccoach_is_joined_with_takes_and_ratings(coaching: Path, tmp_path: Path) -> None:
    manifest = build_task_folder(DESCCOACH, coaching, tmp_path)
    assert manifest.synthetic and manifest.items["train"] + manifest.items["test"] == manifest.with_poses == 96
    items = read_items(tmp_path, "test")
    take = items[0]
    assert set(take.clip.videos) == {"ego", "exo"} and take.truth.findings is not None
    truths = [item.truth for item in (*items, *read_items(tmp_path, "train"))]
    rated = [(truth.score, bool(truth.findings)) for truth in truths if truth.score is not None]
    assert 60 < len(rated) < 96, "nobody rated a few takes"
    faultless, faulty = ([score for score, faults in rated if faults == wanted] for wanted in (False, True))
    assert np.median(faultless) > np.median(faulty) + 1, "ratings follow from what is seen"
    assert set(take.facts["techpoints"]) == set(DIMENSIONS) and take.clip.clip_id in pose_stretches(tmp_path)
    clips, videos = read_clips(tmp_path)
    assert len(clips) == 96 and (videos / clips[0].videos["exo"]).is_file()
    form = DESCCOACH.format(ItemManifest.read(tmp_path).knowledge, DESCCOACH.options())
    for item in items:
        taught = form.conversation(item, 0).messages[-1]["content"][0]["text"]
        read = form.parse(taught)
        assert (read.text, read.findings) == (item.truth.text, item.truth.findings)
        assert read.score == (None if item.truth.score is None else pytest.approx(item.truth.score, abs=0.005))
        assert read.unread == (["no score"] if item.truth.score is None else None)


def test_irregular_desccoach_entries(coaching: Path, tmp_path: Path) -> None:
    for path in coaching.iterdir():
        if path.name != FILE:
            (tmp_path / path.name).symlink_to(path)
    content = json.loads((coaching / FILE).read_text())
    requests = list(content)
    content[requests[0]]["take_id"] = content[requests[0]]["take_name"] = "elsewhere"
    content[requests[1]]["response"]["summarization"] = " "
    content[requests[2]]["clip_st_ed"] = [1.0, 999.0]
    content[requests[3]]["response"]["regular_dict"].append(
        {"body_part": "Tail", "what_is_done_well": "x", "what_can_be_improved": ""}
    )
    content[requests[4]] = {"take_id": "x"}
    content[requests[5]]["response"]["regular_dict"] = [
        {"body_part": "feet and heels", "what_is_done_well": "N/A", "what_can_be_improved": "Plant it."},
        {"body_part": "Feet & Heels", "what_is_done_well": None, "what_can_be_improved": "Now."},
    ]
    (tmp_path / FILE).write_text(json.dumps(content))
    data = read_desccoach(tmp_path)
    found = notes(data)
    for reason in ("take is not in the release", "no overall commentary", "malformed instance", "TechPoints of an unknown dimension", "clips that run past their take, cut at its end"):  # fmt: skip
        assert found[reason] == 1, reason
    merged = next(item for item in data.items if item.item_id == requests[5])
    assert merged.facts["commentary"] == {"Feet & Heels": ["", "Plant it. Now."]}
    assert (
        known_dimension("**human object interaction**") == "Human-Object Interaction"
        and known_dimension("Knees") is None
    )


# --- folders ---------------------------------------------------------------------------------------------------------


def test_task_folders_say_what_is_wrong(dives: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished items"):
        read_items(tmp_path, "test")
    manifest = build_task_folder(NAE, dives, tmp_path / "plain")
    assert manifest.with_poses == 0 and pose_stretches(tmp_path / "plain") == {}
    poses = shutil.copytree(dives / "poses", tmp_path / "poses")
    (poses / "poses" / "1_2.npy").unlink()
    manifest = build_task_folder(NAE, dives, tmp_path / "posed", poses)
    assert manifest.with_poses == 31 and manifest.funnel[-1]["dropped"] == {"no poses": 1}
    np.save(poses / "poses" / "1_1.npy", np.zeros((5, 17, 3)))
    with pytest.raises(ValueError, match=r"1_1\.npy: poses have shape \(5, 17, 3\)"):
        build_task_folder(NAE, dives, tmp_path / "posed", poses)
    with pytest.raises(FileNotFoundError, match="no finished items"):
        read_items(tmp_path / "posed", "train")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scratch", ["dives"], indirect=True)
@pytest.mark.parametrize(
    ("out", "poses"),
    [
        (".", "poses"), ("poses", "poses"), ("poses/poses", "poses"), ("items", "poses"), ("..", "poses"), (".", None),
        ("../poses", "../poses"), ("../link", "../poses"), ("../poses/new", "../poses"), ("../poses", "../link"),
    ],
)  # fmt: skip
def test_reading_a_task_into_what_it_reads_changes_nothing(scratch: Path, out: str, poses: str | None) -> None:
    shutil.copytree(scratch / "poses", scratch / "../poses")
    (scratch / "../link").symlink_to(scratch / "../poses")
    before = contents(scratch.parent)
    with pytest.raises(ValueError, match=r"is what is read|lies in|holds"):
        build_task_folder(NAE, scratch, scratch / out, scratch / poses if poses else None)
    assert contents(scratch.parent) == before


def test_files_of_others_in_the_folder_of_items_stay(dives: Path, tmp_path: Path) -> None:
    (tmp_path / "own" / "poses").mkdir(parents=True)
    (tmp_path / "own" / "poses" / "mine.npy").write_text("precious")
    with pytest.raises(ValueError, match="own holds poses, which this command did not write"):
        build_task_folder(NAE, dives, tmp_path / "own")
    assert contents(tmp_path / "own") == {"poses/mine.npy": b"precious"}
    poses, items = dives / "poses", tmp_path / "items"
    build_task_folder(NAE, dives, items, poses)
    (items / "poses" / "mine.npy").write_text("precious")
    before = contents(items)
    for given in (poses, None):
        with pytest.raises(ValueError, match=r"poses holds mine\.npy, which `mm-coach task read` did not make"):
            build_task_folder(NAE, dives, items, given)
    assert contents(items) == before
    (items / "poses" / "mine.npy").unlink()
    assert build_task_folder(NAE, dives, items).with_poses == 0
    assert not list(items.rglob("*.npy")), "poses of the run before are gone"
    assert build_task_folder(NAE, dives, items, poses).with_poses == 32
    (items / "items.json").unlink()  # as a killed run leaves it
    assert build_task_folder(NAE, dives, items, poses).with_poses == 32
    shutil.rmtree(items / "poses")
    (items / "poses").symlink_to(poses / "poses")
    with pytest.raises(ValueError, match="poses"):
        build_task_folder(NAE, dives, items, poses)
    assert len(list(poses.rglob("*.npy"))) == 32


def test_a_pose_folder_of_other_clips_is_refused(dives: Path, gym: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds poses of none of the 32 clips; they are looked for as 1_1\.npy"):
        build_task_folder(NAE, dives, tmp_path / "items", gym / "poses")
    assert not (tmp_path / "items").exists()
