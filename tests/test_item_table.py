"""A table of one's own: what is read of it, what it is asked for, and what is refused by file, line and fix."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mm_adapter.tasks.expertaf import EXPERTAF
from mm_adapter.tasks.expertaf.format import ExpertafFormat, ExpertafOptions
from mm_adapter.tasks.table import TABLE, TableOptions
from mm_adapter.tasks.table.format import TableFormat
from mm_adapter.tasks.zero_shot import Instruction
from mm_data.items.item import TaskItem
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_gallery, read_items
from mm_data.poses.manifest import PoseManifest, PoseSequence
from mm_data.tasks import Answer
from mm_data.tasks.folder import build_task_folder
from mm_data.tasks.item_table import read_item_table
from mm_data.tasks.questions import CANNOT, Choice, Likelihoods, Words
from mm_eval.answers.test_sets import TestItem
from mm_eval.suites.tasks import GENERAL, evaluate_answers


def table(folder: Path, text: str, name: str = "items.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


# --- what is read ----------------------------------------------------------------------------------------------------


def test_spreadsheets_and_several_remarks(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes(
        "\ufeffclip;remark;score;start;stop;split\r\na;Good.;;1;2;train\r\na;Better.;7.5;1;2;train\r\nb;Fine;3;0;4;test\r\n".encode()
    )
    data = read_item_table(tmp_path)
    first, second = data.items
    assert (first.item_id, first.references, first.truth.score) == ("a:1-2", ["Good.", "Better."], 7.5)
    assert (first.clip.start, first.clip.stop, first.clip.videos) == (1.0, 2.0, {"exo": "a"})
    assert (second.split, second.cluster, second.person, second.category) == ("test", "b", None, "movement")
    assert data.knowledge == {
        "lowest": 7.5, "highest": 7.5, "scores": [7.5], "labels": [], "verdicts": [], "findings": [], "remarks": True,
    }, "scores of the training items alone"  # fmt: skip
    assert data.funnels[0].noted == {"no video: poses or published features are needed": 3}


EVERYTHING = """clip,stop,person,split,score,verdict,label,findings,remark
a.mp4,2,Anna,train,6.5,correct,squat,,Well done.
b.mp4,2,Ben,train,3,incorrect,lunge,knees; Trunk,Push the knees out.
c.mp4,2,Cleo,test,4,Incorrect,lunge,trunk,Stand up straight.
sub\\d.mp4,2,anna,train,,,squat,,
"""


def test_all_columns_and_spellings(tmp_path: Path) -> None:
    data = read_item_table(table(tmp_path, EVERYTHING))
    first, second, third, fourth = data.items
    assert first.truth == Answer("Well done.", 6.5, "squat", "correct", findings=[])
    assert second.truth == Answer("Push the knees out.", 3.0, "lunge", "incorrect", findings=["knees", "Trunk"])
    assert third.truth == Answer("Stand up straight.", 4.0, "lunge", "incorrect", findings=["Trunk"])
    assert fourth.truth == Answer("", None, "squat", None, findings=[]) and fourth.references == []
    assert (fourth.item_id, fourth.clip.videos) == ("sub-d:0-2", {"exo": "sub/d.mp4"})
    assert fourth.person == "Anna" and [item.category for item in data.items] == ["squat", "lunge", "lunge", "squat"]
    (funnel,) = data.funnels
    assert funnel.noted["verdict spelt in several ways, which are read as the first"] == 1
    assert funnel.noted["person spelt in several ways, which are read as the first"] == 1
    assert data.knowledge == {
        "scores": [3.0, 6.5], "lowest": 3.0, "highest": 6.5, "labels": ["lunge", "squat"],
        "verdicts": ["correct", "incorrect"], "findings": ["Trunk", "knees"], "remarks": True,
    }  # fmt: skip


def test_json_lines_and_parquet_are_read_alike(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"clip": "a", "stop": 2.0, "split": "train", "verdict": "good", "remark": ["Nice.", "Go on."]},
        {"clip": "b", "stop": 2.0, "split": "test", "verdict": "bad", "remark": ["Slower."]},
    ]
    lines = table(tmp_path / "lines", "\n".join(map(json.dumps, rows)), "items.jsonl")
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet" / "items.parquet")
    one, other = read_item_table(lines), read_item_table(tmp_path / "parquet")
    assert one.items == other.items and one.items[0].references == ["Nice.", "Go on."]
    (tmp_path / "parquet" / "items.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"items\.parquet cannot be read as Parquet"):
        read_item_table(tmp_path / "parquet")


def test_people_are_put_aside_whole(tmp_path: Path) -> None:
    rows = "".join(f"c{n}.mp4,2,{'ABCDEFGHIJ'[n % 10]},{n % 5}\n" for n in range(40))
    data = read_item_table(table(tmp_path, f"clip,stop,person,score\n{rows}"))
    sides = {split: {item.person for item in data.items if item.split == split} for split in ("train", "test")}
    assert len(sides["test"]) == 2 and len(sides["train"]) == 8 and not sides["test"] & sides["train"]
    assert data.funnels[0].noted["people put aside for testing"] == 2


def test_what_is_the_same_everywhere_is_not_asked(tmp_path: Path) -> None:
    data = read_item_table(table(tmp_path, "clip,stop,split,verdict,remark\na,1,train,ok,Go.\nb,1,test,ok,Stop.\n"))
    assert [item.truth.verdict for item in data.items] == [None, None] and data.knowledge["verdicts"] == []
    assert "verdict is the same everywhere, so it is not asked" in data.funnels[0].noted


def test_a_test_clip_without_a_remark_is_left_out_where_others_have_one(tmp_path: Path) -> None:
    rows = "a,1,train,1,Go.\nb,1,train,2,\nc,1,test,3,Stop.\nd,1,test,4,\n"
    data = read_item_table(table(tmp_path, f"clip,stop,split,score,remark\n{rows}"))
    assert [item.item_id for item in data.items] == ["a:0-1", "b:0-1", "c:0-1"]
    assert data.funnels[0].dropped == {"a test clip without a remark, where others have one": 1}


# --- what is refused -------------------------------------------------------------------------------------------------

ROW = "clip,stop,split,remark\na,1,train,Good.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"items\.csv is empty"),
        ("person,remark\nA,Good.\n", "lacks the columns clip"),
        ("clip,person\na.mp4,A\n", r"items\.csv:2: the table says nothing about its clips; it needs one of remark, score"),
        ("clip,remark\n,Good.\n", r"items\.csv:2: the row names no clip"),
        ("clip,remark,mood\na,Good.,high\n", r"items\.csv:2: unknown column 'mood'; known are clip, start"),
        ("clip,remark,split,stop\na,Good.,dev,1\n", r"items\.csv:2: split is 'dev'; give train or test"),
        ("clip,remark,split,stop\na,Good.,train,1\nb,Bad.,,1\n", "1 clips have no split, such as 'b:0-1'"),
        ("clip,remark,start,stop\na,Good.,2,1\n", "clip runs from 2 s to 1 s"),
        ("clip,remark,start,stop\na,Good.,-1,1\n", "clip runs from -1 s to 1 s"),
        ("clip,remark,stop\na,Good.,0\n", "clip runs from 0 s to 0 s"),
        ("clip,remark,stop\na,Good.,0:07\n", r"items\.csv:2: stop '0:07' is not a number"),
        ("clip,remark,stop\na,Good.,nan\n", r"items\.csv:2: stop 'nan' is not a number"),
        ("clip;remark;stop\na;Good.;1,5\n", r"stop '1,5' is not a number; write it in digits, with a point"),
        ("clip,remark,score,stop\na,Good.,high,1\n", r"items\.csv:2: score 'high' is not a number"),
        ("clip,score,stop\na,8/10,1\n", r"score '8/10' is not a number"),
        ("clip,score,stop\na,80%,1\n", r"score '80%' is not a number"),
        ("clip,remark,score,stop\na,Good.,1,1\na,Fine.,2,1\n", r"items\.csv:3: clip 'a:0-1' has score 2\.0 here and 1\.0 above"),
        ("clip,verdict,stop\na,good,1\na,bad,1\n", r"items\.csv:3: clip 'a:0-1' has verdict 'bad' here and 'good' above"),
        ("clip,label,stop\na,squat,1\na,lunge,1\n", "has category 'lunge' here and 'squat' above"),
        ("clip,findings,stop\na,knee,1\na,hip,1\n", r"has findings \['hip'\] here and \['knee'\] above"),
        ("clip,remark,person,stop\na,Good.,A,1\na,Fine.,B,1\n", "has person 'B' here and 'A' above"),
        ("clip,remark,split,stop\na,Good.,test,1\na,Fine.,train,1\n", "has split 'train' here and 'test' above"),
        (
            "clip,stop,remark,expert_clip,expert_stop\na,1,Good.,b,1\na,1,Fine.,c,1\n",
            "clip 'a:0-1' has expert_clip 'c:0-1' here and 'b:0-1' above",
        ),
        ("clip,stop,remark,expert_clip,expert_stop\na,1,Good.,b,0\n", "expert_clip runs from 0 s to 0 s"),
        ("clip,stop,remark,expert_clip,expert_start\na,1,Good.,b,1\n", "1 × expert_clip: neither a video nor poses"),
        ("clip,remark,stop\na,Good.,1\n", "has 1 clip that can be used; training and testing need at least one each"),
        ("clip,remark\na,Good.\nb,Bad.\n", "2 × clip: neither a video nor poses, nor where it stops"),
        ("clip,remark,stop\na,,1\nb,,1\n", "2 × nothing is said about the clip"),
        ("clip,remark,stop\n../a.mp4,Good.,1\n", r"'\.\./a\.mp4' leaves the data set's folder"),
        ("clip,remark,stop\nC:\\a.mp4,Good.,1\n", "leaves the data set's folder"),
        ("clip,remark,stop\n/a.mp4,Good.,1\n", "leaves the data set's folder"),
        ("clip,clip,remark\na,a,Good.\n", "the column 'clip' stands twice"),
        ("clip,stop,remark\na,1,Good, but slow.\n", r"items\.csv:2: 'but slow\.' stands in no column"),
        ('clip,stop,remark\na,1,"Good.\nb,1,Bad.\n', r"items\.csv:2: a quotation mark is not closed"),
        (ROW.replace(",", "|"), "lacks the columns clip"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_read(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_item_table(table(tmp_path, content))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"clip": "a"', r"items\.jsonl:1: not valid JSON"),
        ('["a"]', r"items\.jsonl:1: expected an object, found list"),
        ('{"clip": "a", "clip": "b", "remark": "x"}', r"items\.jsonl:1: 'clip' stands twice"),
        ('{"clip": "a", "stop": 1, "remark": 7}', r"items\.jsonl:1: remark is 7; give a text, or a list of texts"),
        ('{"clip": "a", "stop": 1, "remark": ["x", 7]}', r"items\.jsonl:1: remark is 7"),
        ('{"clip": "a", "stop": true, "remark": "x"}', r"items\.jsonl:1: stop True is not a number"),
        ('{"remark": "x"}', r"items\.jsonl:1: the row names no clip"),
    ],
)
def test_json_lines_that_cannot_be_read(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_item_table(table(tmp_path, line, "items.jsonl"))


def test_a_folder_without_a_table_and_spreadsheets(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no items\.csv, no items\.jsonl, no items\.parquet"):
        read_item_table(tmp_path)
    (tmp_path / "items.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"items\.xlsx is a spreadsheet\. Save the table as"):
        read_item_table(tmp_path / "items.xlsx")
    (tmp_path / "items.csv").write_bytes("clip,remark\na,caf\xe9\n".encode("latin1"))
    with pytest.raises(ValueError, match="is in another encoding"):
        read_item_table(tmp_path)


def test_a_video_that_is_none_or_ends_before_its_clip(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "b.mp4").write_bytes(b"no video")
    data = read_item_table(table(tmp_path, "clip,score,stop\na.mp4,1,\na.mp4,2,1.5\n"))
    assert [(item.item_id, item.clip.stop) for item in data.items] == [("a", 2.0), ("a:0-1.5", 1.5)]
    for row, message in (
        ("a.mp4,1,5,", "clip stops at 5 s, and a.mp4 ends at 2 s"),
        ("a.mp4,1,9,3", "clip runs from 3 s to 9 s of 2 s that there are"),
        ("b.mp4,1,,", r"items\.csv:2: .*b\.mp4"),
    ):
        with pytest.raises(ValueError, match=message):
            read_item_table(table(tmp_path, f"clip,score,stop,start\n{row}\n"))


# --- poses and experts -----------------------------------------------------------------------------------------------


@pytest.fixture
def posed(tmp_path: Path) -> Path:
    """Poses of ten clips of two seconds, without videos, and a table whose rows name experts."""
    folder = tmp_path / "data"
    (folder / "poses").mkdir(parents=True)
    poses = np.concatenate([np.random.default_rng(0).random((60, 17, 3)), np.ones((60, 17, 1))], axis=-1)
    names = [f"c{n}" for n in range(8)] + ["e0", "e1"]
    for name in names:
        np.save(folder / "poses" / f"{name}.npy", poses.astype(np.float32))
    PoseManifest(False, [PoseSequence(name, "train") for name in names]).write(folder)
    rows = [f"c{n},{'ABCD'[n // 2]},{'test' if n > 5 else 'train'},Remark {n}.,e{n % 2},Eva" for n in range(7)]
    return table(folder, "\n".join(["clip,person,split,remark,expert_clip,expert_person", *rows, "c7,D,test,None.,,"]))


def test_poses_say_how_long_a_clip_is_and_experts_make_it_expertafs(posed: Path, tmp_path: Path) -> None:
    assert {item.clip.stop for item in read_item_table(posed).items} == {2.0}
    manifest = build_task_folder(EXPERTAF, posed, tmp_path / "items", posed)
    test, train = (read_items(tmp_path / "items", split) for split in ("test", "train"))
    assert [item.item_id for item in test] == ["c6"] and len(train) == 6 and manifest.with_poses == 7
    assert manifest.funnel[1]["dropped"] == {"no expert_clip": 1}
    (item,) = test
    assert item.expert is not None and item.expert.clip_id == "e0" and item.expert_person == "Eva"
    assert [clip.clip.clip_id for clip in read_gallery(tmp_path / "items")] == ["e1"] and manifest.counts[
        "gallery"
    ] == 1
    gallery = [(item.expert, item.category), *((row.clip, row.category) for row in read_gallery(tmp_path / "items"))]
    form = ExpertafFormat({"gallery": gallery}, ExpertafOptions())
    assert form.candidates(item) == ["e0", "e1"]
    assert ItemManifest.read(tmp_path / "items").task == "expertaf"


def test_an_expert_without_poses_is_taken_off_its_items(posed: Path, tmp_path: Path) -> None:
    (posed / "poses" / "e1.npy").unlink()
    (posed / "items.csv").write_text((posed / "items.csv").read_text().replace("expert_clip,", "expert_clip,expert_stop,").replace(",Eva", ",2,Eva").replace("None.,,", "None.,,,"))  # fmt: skip
    manifest = build_task_folder(EXPERTAF, posed, tmp_path / "items", posed)
    assert manifest.funnel[-1]["noted"] == {"experts' clips without poses: their items teach a remark alone": 3}
    assert sum(item.expert is None for item in read_items(tmp_path / "items", "train")) == 3


def test_a_data_set_without_experts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip has both a remark and an expert_clip"):
        EXPERTAF.read(table(tmp_path, ROW + "b,1,test,Bad.\n"))
    (tmp_path / "items.csv").unlink()
    with pytest.raises(ValueError, match="`mm-coach data build` makes them; or they stand in a table"):
        EXPERTAF.read(tmp_path)


# --- how it is taught, asked and read --------------------------------------------------------------------------------


@pytest.fixture
def everything(tmp_path: Path) -> tuple[TableFormat, list[TaskItem]]:
    data = read_item_table(table(tmp_path, EVERYTHING))
    return TableFormat(data.knowledge, TableOptions()), data.items


def spoken(form: TableFormat, item: TaskItem) -> list[str]:
    conversation = form.conversation(item, 0)
    return [message["content"][-1]["text"] for message in conversation.messages[1:]]


def test_what_the_table_says_is_taught_turn_by_turn(everything: tuple[TableFormat, list[TaskItem]]) -> None:
    form, (first, second, _, fourth) = everything
    ask = "What should be improved? End with a score from 3 to 6.5."
    assert spoken(form, second) == [
        "Which movement is this?", "lunge", "How well is it done?", "incorrect", ask,
        "Push the knees out. To improve: knees, Trunk. Score: 3",
    ]  # fmt: skip
    assert form.conversation(second, 0).supervised == (2, 4, 6)
    assert spoken(form, first)[-1] == "Well done. To improve: nothing. Score: 6.5"
    assert spoken(form, fourth)[:2] == ["Which movement is this?", "squat"] and len(spoken(form, fourth)) == 4
    assert form.short(second).messages[-1]["content"][0]["text"] == "To improve: knees, Trunk. Score: 3"
    read = form.parse("Push the knees out. To improve: knees, trunk. Score: 3")
    assert read == Answer("Push the knees out.", 3.0, findings=["knees", "Trunk"])
    assert form.parse("Well done. To improve: nothing. Score: 6.5").findings == []
    assert form.parse("Hm. To improve: ears. Score: 99").unread == [
        "findings that the table does not have",
        "a score outside the scale",
    ]
    assert form.parse("Hm.").unread == ["no findings", "no score"]


def ask(form: TableFormat, item: TaskItem, likely: dict[str, float] | None, written: str) -> dict[str, Any]:
    """Answers the questions about an item with likelihoods by name, or without any, and with a text."""
    dialogue, asked = form.questions(item), []
    questions = next(dialogue)
    while True:
        replies: list[Any] = []
        for question in questions:
            asked.append(question)
            if isinstance(question, Words):
                replies.append(written if likely is not None or len(asked) > 4 else "LUNGE.")
            elif likely is None:
                replies.append(CANNOT)
            else:
                assert isinstance(question, Choice)
                values = np.array([likely.get(name, -9.0) for name in question.candidates])
                replies.append(Likelihoods(values, values))
        try:
            questions = dialogue.send(replies)
        except StopIteration as end:
            return {"asked": asked, **end.value}


def test_the_likeliest_name_is_what_the_next_question_goes_on_from(
    everything: tuple[TableFormat, list[TaskItem]],
) -> None:
    form, (_, second, *_) = everything
    record = ask(form, second, {"squat": -1.0, "lunge": -2.0, "correct": -3.0, "incorrect": -2.5}, "Go. To improve: nothing. Score: 3")  # fmt: skip
    said = [turn["content"][0]["text"] for turn in record["asked"][2].messages if turn["role"] == "assistant"]
    assert said == ["squat", "incorrect"], "not what is true of the item"
    answer = form.read(record, {})
    assert (answer.text, answer.label, answer.verdict, answer.findings, answer.score) == (
        "Go.",
        "squat",
        "incorrect",
        [],
        3.0,
    )
    assert answer.ranking == {"lunge": -2.0, "squat": -1.0} and answer.unread is None
    silent = form.read(ask(form, second, None, "Go. To improve: nothing. Score: 3"), {})
    assert (silent.label, silent.verdict, silent.ranking) == ("lunge", None, None), "written names are read"
    assert silent.unread == ["no known verdict"]


def test_a_table_of_verdicts_alone_asks_for_no_words(tmp_path: Path) -> None:
    data = read_item_table(table(tmp_path, "clip,stop,split,verdict\na,1,train,good\nb,1,test,bad\n"))
    form = TableFormat(data.knowledge, TableOptions())
    assert spoken(form, data.items[0]) == ["How well is it done?", "good"] and not form.in_words
    record = ask(form, data.items[0], {"good": -1.0, "bad": -2.0}, "")
    assert len(record["asked"]) == 1 and form.read(record, {}) == Answer("", verdict="good")
    items = [
        TestItem(f"i{n}", f"p{n}", "movement", Answer(verdict=true), {"ours": Answer(verdict="good")})
        for n, true in enumerate(["good", "bad", "good", "good"])
    ]
    rows, notes = evaluate_answers(GENERAL, items)
    assert rows["ours"]["verdict_accuracy"].value == 0.75 and rows["chance"]["verdict_accuracy"].value == 0.5
    assert "bleu4" not in rows["ours"] and notes == [], "there are no words to compare"


def test_an_endpoint_is_asked_for_every_part_at_once(
    everything: tuple[TableFormat, list[TaskItem]], tmp_path: Path
) -> None:
    _, items = everything
    assert TABLE.instruction is not None
    instruction: Instruction = TABLE.instruction(read_item_table(tmp_path).knowledge, TableOptions())
    _, user = instruction.messages(items[1])
    assert "Which movement is this? One of: lunge; squat." in user and "from 3 to 6.5" in user
    assert '{"label": "...", "verdict": "...", "text": "...", "findings": ["...", ...], "score": <number>}' in user
    good = {"label": "lunge", "verdict": "correct", "text": "Go on.", "findings": ["knees"], "score": 4.0}
    assert instruction.schema.problem(good) is None
    assert instruction.read(good) == Answer("Go on.", 4.0, "lunge", "correct", findings=["knees"])
    for wrong in ({"verdict": "fine"}, {"findings": ["ears"]}, {"score": "4"}):
        assert instruction.schema.problem({**good, **wrong}) is not None
