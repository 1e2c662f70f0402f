"""What the benchmarks on real people do before they measure: markers as joints, and a reason where the data are not there."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_coach import ROOT

from mm_data.poses.skeleton import JOINT_INDEX

MARKERS = {
    "LASI": (100, 0, 1000), "RASI": (-100, 0, 1000), "LPSI": (50, -150, 1000), "RPSI": (-50, -150, 1000), "LSHO": (180, -50, 1400),
    "RSHO": (-180, -50, 1400), "LELB": (200, -50, 1100), "RELB": (-200, -50, 1100), "LWRA": (210, 0, 900), "LWRB": (230, -20, 880),
    "RWRA": (-210, 0, 900), "RWRB": (-230, -20, 880), "LKNE": (110, 20, 500), "RKNE": (-110, 20, 500), "LANK": (100, 0, 90), "RANK": (-100, 0, 90),
}  # fmt: skip
"""Marker to millimetres: somebody who looks along +y."""


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of ``benchmarks/real`` as its command line does."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return lambda name: import_module(f"real.{name}")


def test_markers_become_joints(real: Any) -> None:
    """Hips are 14 % of the pelvis' width further in than its front points, 19 % back and 30 % down; a marker at (0, 0, 0) was not seen."""
    markers = np.array([list(MARKERS.values())] * 2, float)
    markers[1, list(MARKERS).index("LWRB")] = 0
    poses = real("ui_prmd_motion").markers_to_coco(markers, list(MARKERS))
    at = {name: poses[0, index, :3].tolist() for name, index in JOINT_INDEX.items()}
    assert at["left-hip"] == pytest.approx([72, -38, 940]) and at["right-hip"] == pytest.approx([-72, -38, 940])
    assert at["left-wrist"] == [220, -10, 890] and at["right-knee"] == [-110, 20, 500]
    assert poses[0, JOINT_INDEX["nose"], 3] == 0, "there is no face"
    assert poses[1, JOINT_INDEX["left-wrist"], 3] == 0 and poses[1, JOINT_INDEX["right-wrist"], 3] == 1


def test_people_who_turn_keep_their_hips(real: Any) -> None:
    turned = np.array([[(-y, x, z) for x, y, z in MARKERS.values()]], float)
    poses = real("ui_prmd_motion").markers_to_coco(turned, list(MARKERS))
    np.testing.assert_allclose(poses[0, JOINT_INDEX["left-hip"], :3], [38, 72, 940])


def test_without_data_a_benchmark_says_why(
    real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = real("where").find_data
    monkeypatch.delenv("MM_COACH_REAL_DATA", raising=False)
    for given, said in (
        ("", "give --data FOLDER, or set MM_COACH_REAL_DATA"),
        (str(tmp_path / "x"), "x does not exist"),
    ):
        with pytest.raises(SystemExit) as ended:
            find(given, "boxing")
        assert ended.value.code == 0 and said in capsys.readouterr().out
    monkeypatch.setenv("MM_COACH_REAL_DATA", str(tmp_path))
    (tmp_path / "boxing").mkdir()
    assert find("", "boxing") == tmp_path / "boxing"
