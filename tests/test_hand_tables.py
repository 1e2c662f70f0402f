"""Tables as people write them, in editors and in spreadsheets: read as they are meant, or refused by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm_data.annotation.sheet import read_review
from mm_data.folders import read_clips
from mm_data.ground.hand_tables import number, read_csv, read_table, video_path
from mm_eval.judge.calibration import calibrate, labelling_sheet
from mm_eval.judge.judging import OK, Judgement

COLUMNS = ("video", "time", "text")
ROWS = [
    {"video": "a.mp4", "time": "1.5", "text": "Bend, then push."},
    {"video": "b.mp4", "time": "2", "text": "Élan; good"},
]


def write(tmp_path: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path: Path, content: str | bytes, columns: tuple[str, ...] = COLUMNS) -> list[tuple[int, dict[str, str]]]:
    return read_csv(write(tmp_path, content), columns)


PLAIN = 'video,time,text\na.mp4,1.5,"Bend, then push."\nb.mp4,2,Élan; good\n'
SEMICOLONS = 'video;time;text\na.mp4;1.5;Bend, then push.\nb.mp4;2;"Élan; good"\n'


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.strip(),
        "\ufeff" + PLAIN,
        PLAIN.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + PLAIN.encode("utf-16-be"),
        SEMICOLONS,
        "\ufeff" + SEMICOLONS.replace("\n", "\r\n"),
        "sep=;\r\n" + SEMICOLONS.replace("\n", "\r\n"),
        "sep=,\n" + PLAIN,
        'video\ttime\ttext\na.mp4\t1.5\tBend, then push.\nb.mp4\t2\tÉlan; good\n',
        'video, time, text\na.mp4, 1.5, "Bend, then push."\nb.mp4 , 2 , Élan; good\n',
        'video,time,text,,\na.mp4,1.5,"Bend, then push.",,\nb.mp4,2,Élan; good,,\n,,,,\n,,,,\n',
        '"video","time","text"\n"a.mp4","1.5","Bend, then push."\n"b.mp4","2","Élan; good"\n',
        PLAIN.replace("\n", "\n\n  \n"),
        "\n" + PLAIN,
    ],
)  # fmt: skip
def test_what_spreadsheets_write_is_read_as_it_is_meant(tmp_path: Path, content: str | bytes) -> None:
    assert [row for _, row in read(tmp_path, content)] == ROWS


def test_rows_have_the_number_of_their_first_line(tmp_path: Path) -> None:
    content = 'video,time,text\n\na.mp4,1,"over\ntwo, no: three\nlines"\nb.mp4,2,"with ""quotes"""\n\nc.mp4,3,5" more\n'
    assert [line for line, _ in read(tmp_path, content)] == [3, 6, 8]
    texts = [row["text"] for _, row in read(tmp_path, content)]
    assert texts == ["over\ntwo, no: three\nlines", 'with "quotes"', '5" more']
    shifted = [line for line, _ in read(tmp_path, "sep=,\n" + content)]
    assert shifted == [4, 7, 9]


def test_optional_columns_may_be_left_out_at_the_end(tmp_path: Path) -> None:
    content = "video,time,text,commentator,note\na.mp4,1,x,anna\nb.mp4,2,\nc.mp4,3,y,,z\n"
    assert [tuple(row.values()) for _, row in read(tmp_path, content)] == [
        ("a.mp4", "1", "x", "anna", ""), ("b.mp4", "2", "", "", ""), ("c.mp4", "3", "y", "", "z"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,time,text\na.mp4,1,Too far, bring it back.\n", r"csv:2: 'bring it back\.' stands in no column; .*holds a comma in quotes"),
        ("video;time;text\na.mp4;1;x\nb.mp4;1;Far; near\n", r"csv:3: 'near' stands in no column; .*holds a semicolon in quotes"),
        ("video,time,,text\na.mp4,1,lost,x\n", r"csv:2: 'lost' stands in no column"),
        ("video,time,text\n\na.mp4,1\n", r"csv:3: the row has 2 cells and ends before text"),
        ("video,time,text\na.mp4,1,Bend\nthe knees.\n", r"csv:3: the row has 1 cells and ends before time, text"),
        ('video,time,text\na.mp4,1,"Bend\nb.mp4,2,ok\n', r"csv:2: a quotation mark is not closed"),
        ('video,time,text\na.mp4,1,x\nb.mp4,1,"Bend\nc.mp4,2,"Good, push."\n', r"csv:3: .*stands behind a closed one"),
        ('video,time,text\na.mp4,1,x\nb.mp4,1,"Bend\nc.mp4,2.5,"\nd.mp4,3,y\n', r"csv:3: .*another row, 'c\.mp4,2\.5,'.*Close"),
        ('video;time;text\nann;1;"Bend\nkick-1.mp4;2,5;far\nb.mp4;3;"\n', r"csv:2: .*another row, 'kick-1\.mp4;2,5;far'"),
        ("video,time,time,text\na.mp4,1,2,x\n", r"csv: the column 'time' stands twice"),
        ("video,time, time ,text\na.mp4,1,2,x\n", r"csv: the column 'time' stands twice"),
        ("video,text\na.mp4,x\n", r"csv lacks the columns time; its first line names 'video', 'text'"),
        ("Video|Time|Text\na|1|x\n", r"csv lacks the columns video, time, text"),
        ("sep=|\nvideo|time|text\n", r"csv:1: columns are separated by '\|'"),
        ("", r"csv is empty; its first line has to name the columns video, time, text"),
        ("\n\n", r"csv is empty"),
        ("video,time,text\na.mp4,1,x\0y\n", r"csv:2: holds a NUL byte"),
        (PLAIN.encode("utf-16-le"), r"csv:(1|2|3): (holds a NUL byte|byte 0x)"),
        (PLAIN.encode("cp1252"), r"csv:3: byte 0xc9 is not UTF-8 text.*CSV UTF-8"),
        ("video,time,text\r\na.mp4,1,the runner\x92s knee\r\n".encode("latin1"), r"csv:2: byte 0x92"),
        ("video,time,text\ra.mp4,1,caf\xe9\r".encode("cp1252"), r"csv:2: byte 0xe9"),
        (PLAIN.encode("utf-16")[:-1], r"csv begins like UTF-16 and is cut off"),
    ],
)  # fmt: skip
def test_what_would_have_to_be_guessed_names_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_texts_that_merely_hold_line_breaks_and_commas_are_read(tmp_path: Path) -> None:
    text = "Good, but slow, again.\nThen, slowly, push\n3, 2, 1"
    (_, row), _ = read(tmp_path, f'video,time,text\na_1.mp4,1,"{text}"\na_2.mp4,2,ok\n')
    assert row["text"] == text


def test_spreadsheets_themselves_and_other_endings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"table\.xlsx is a spreadsheet\. Save the table as 'CSV UTF-8"):
        read_csv(write(tmp_path, b"PK\3\4", "table.xlsx"), COLUMNS)
    for name in ("TABLE.CSV", "table.tsv", "table.txt"):
        assert [row for _, row in read_table(write(tmp_path, PLAIN, name), COLUMNS)] == ROWS
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    for content in (lines, "\ufeff" + lines, lines.encode("utf-16")):
        path = write(tmp_path, content, "table.jsonl")
        assert read_table(path, COLUMNS) == [(f"{path}:{n}", row) for n, row in enumerate(ROWS, start=1)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"video": "caf\xe9"}', r"jsonl:2: byte 0xe9 is not UTF-8"),
        (b'{"video": "a", "video": "b"}', r"jsonl:2: 'video' stands twice"),
        (b"[1]", r"jsonl:2: expected an object, found list"),
        (b'{"video": ', r"jsonl:2: not valid JSON"),
    ],
)
def test_bad_json_lines_name_file_and_line(tmp_path: Path, line: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, b"{}\n" + line, "table.jsonl"), ())


@pytest.mark.parametrize(
    "value", ["3,25", "1.234,5", "1_0", "nan", "inf", "", " ", "3s", "٣", "1e999", True, None, [1], 10**400]
)
def test_what_is_no_number_is_never_misread(value: Any) -> None:
    with pytest.raises(ValueError, match=r"t\.csv:7: time .* is not a number; .*with a point"):
        number(value, "t.csv:7", "time")


def test_numbers_are_read(tmp_path: Path) -> None:
    assert [number(v, "", "") for v in ("3.25", " 4 ", "-1e-2", ".5", "2.", 7, 0.5)] == [3.25, 4, -0.01, 0.5, 2, 7, 0.5]


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ("a.mp4", "a.mp4"), ("./sub/a.mp4", "sub/a.mp4"), (r"sub\a.mp4", "sub/a.mp4"), (r".\sub\b c.mp4", "sub/b c.mp4"),
        ("a..mp4", "a..mp4"), ("12:30.mp4", "12:30.mp4"),
    ],
)  # fmt: skip
def test_paths_have_one_form(cell: str, path: str) -> None:
    assert video_path(cell, "t.csv:2", "x") == path


@pytest.mark.parametrize("cell", ["/data/a.mp4", "../a.mp4", "sub/../../a.mp4", r"C:\videos\a.mp4", "c:/a.mp4", r"..\a.mp4", r"\\host\share\a.mp4"])  # fmt: skip
def test_paths_of_ones_own_table_say_what_they_are_relative_to(tmp_path: Path, cell: str) -> None:
    for name, content in (("clips.csv", f"clip,start,stop,exo\na,0,2,{cell}\n"), ("clips.jsonl", json.dumps({"clip": "a", "start": 0, "stop": 2, "exo": cell}))):  # fmt: skip
        table = write(tmp_path, content, name)
        with pytest.raises(ValueError) as caught:
            read_clips(table)
        message = str(caught.value)
        assert f"paths are relative to {tmp_path}, the table's folder; --videos names another" in message
        assert repr(cell) in message and "tampered" not in message
        with pytest.raises(ValueError, match="paths are relative to elsewhere, which --videos names"):
            read_clips(table, Path("elsewhere"))


def test_a_clip_table_of_a_german_spreadsheet(tmp_path: Path) -> None:
    table = write(tmp_path, "\ufeffclip;start;stop;exo\r\na;0.5;2;sub\\a.mp4\r\n", "clips.csv")
    (clip,), videos = read_clips(table)
    assert (clip.clip_id, clip.start, clip.stop, dict(clip.videos), videos) == (
        "a",
        0.5,
        2,
        {"exo": "sub/a.mp4"},
        tmp_path,
    )
    with pytest.raises(ValueError, match=r"clips\.csv:2: start '0,5' is not a number.*point"):
        read_clips(write(tmp_path, "clip;start;stop;exo\na;0,5;2;a.mp4\n", "clips.csv"))


# --- sheets that come back -------------------------------------------------------------------------------------------

JUDGED = [
    Judgement("i", "ours", 0, OK, verdicts=[{"text": "x", "verdict": "same"}, {"text": "y", "verdict": "different"}])
]


def test_labelling_sheets_of_spreadsheets(tmp_path: Path) -> None:
    texts = {("i", "ours"): "Bend the knees; push."}
    (text_id,) = {row["text_id"] for _, row in read(tmp_path, labelling_sheet(JUDGED, texts), ("text_id", "text"))}
    heading = "text_id;detail;rater;verdict;truth_detail;text"
    filled = f'\ufeff{heading}\r\n{text_id};1;anna;Same;x;"Bend; push."\r\n{text_id};2;anna;same;y;z\r\n;;;;;\r\n'
    found = calibrate(JUDGED, write(tmp_path, filled))
    assert (found.verdicts, found.raters, found.confusion["same", "same"], found.confusion["same", "different"]) == (
        2,
        1,
        1,
        1,
    )
    short = f"{heading}\n{text_id};1;anna;same\n{text_id};2;bert\n".replace(";", ",")
    with pytest.raises(ValueError, match=r"csv:3: the row has 3 cells and ends before verdict"):
        calibrate(JUDGED, write(tmp_path, short))
    with pytest.raises(ValueError, match=r"csv:3: byte 0x92 is not UTF-8"):
        calibrate(JUDGED, write(tmp_path, f"{heading}\n\nx;1;a;same;the runner\x92s;y\n".encode("latin1")))
    with pytest.raises(ValueError, match=r"line 2: verdict 'same' of detail '²'"):
        calibrate(JUDGED, write(tmp_path, f"{heading}\n{text_id};²;a;same;x;y\n"))


def test_review_sheets_are_read_by_the_same_rules(tmp_path: Path) -> None:
    sheet = write(tmp_path, '\ufeffitem;about;answer;problem;decision;fixed\r\n1#1;"a\r\nb";x;;Accept;\r\n1#2;;;;;\r\n')
    assert {item: (d.decision, d.where) for item, d in read_review(sheet).items()} == {
        "1#1": ("accept", f"{sheet}, line 2")
    }
    broken = write(tmp_path, 'item,about,answer,problem,decision,fixed\n1#1,"a\nb",x,,maybe,\n1#2,,,,maybe,\n')
    with pytest.raises(ValueError, match="line 2: needs an item"):
        read_review(broken)
    with pytest.raises(ValueError, match=r"csv:3: 'then push' stands in no column"):
        read_review(write(tmp_path, "item,decision,fixed\n1#1,accept,\n1#2,fix,bend, then push\n"))
    with pytest.raises(ValueError, match=r"lacks the columns decision"):
        read_review(write(tmp_path, "item,answer\n1#1,x\n"))
