"""Feature extraction and the store: resuming after kills, several processes, bad clips, verify, merge, Omnivore."""

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_coach import ROOT, launch

from mm_adapter.cli import main
from mm_adapter.features.extract import ExtractionOptions, extract_features, load_clip
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.features.preprocessing import normalise
from mm_adapter.features.published import feature_file, import_omnivore
from mm_data.features import (
    FeatureManifest,
    FeatureStore,
    FeatureStoreWriter,
    merge_stores,
    pooled_features,
    verify_store,
)  # fmt: skip
from mm_data.folders import read_clips
from mm_data.records import Clip, VideoClip


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def table(path: Path, clips: list[VideoClip]) -> Path:
    rows = [{"clip": c.clip_id, "start": c.start, "stop": c.stop, **c.videos} for c in clips]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def clips(tiny: Path) -> list[VideoClip]:
    return read_clips(tiny / "tuples")[0][:36]


@pytest.fixture(scope="module")
def whole(tiny: Path, clips: list[VideoClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extraction that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    encoder, name = build_encoder("tiny", None)
    extract_features(encoder, name, clips, tiny / "miniature", out / "store", ExtractionOptions(batch_size=4))
    return out / "store"


# --- extraction ------------------------------------------------------------------------------------------------------


def test_features_are_the_encoder_of_the_right_frames(tiny: Path, clips: list[VideoClip], whole: Path) -> None:
    encoder, _ = build_encoder("tiny", None)
    store = FeatureStore(whole)
    assert store.manifest.preprocessing.startswith("middle frames of 2 intervals, pyav, 112 px bicubic")
    for clip in clips[::5]:
        views = load_clip(clip, ("ego", "exo"), tiny / "miniature", encoder.config, "pyav")
        assert isinstance(views, torch.Tensor)
        for index, view in enumerate(("ego", "exo")):
            with torch.no_grad():
                expected = encoder(normalise(views[index][None], encoder.config), 1)["tokens"][0]
            np.testing.assert_allclose(store.get(clip.clip_id, view), expected.numpy(), atol=2e-3)


def test_killed_three_times_the_store_is_the_same(
    tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path
) -> None:
    """SIGKILL at random moments of the real command."""
    listed = table(tmp_path / "clips.jsonl", clips)
    command = ["mm-coach", "features", "extract", "--encoder", "tiny", str(listed), str(tmp_path / "store"), "--videos", str(tiny / "miniature"), "--batch-size", "4", "--decoder", "pyav"]  # fmt: skip
    moments = random.Random(0)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0

    def recorded() -> int:
        return sum(len(path.read_bytes()) for path in (tmp_path / "store").glob("shard-*/status.jsonl"))

    while kills < 3:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = recorded()
        while process.poll() is None and recorded() == before:
            time.sleep(0.002)
        time.sleep(moments.random() * 0.02)
        assert process.poll() is None, "the extraction ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    (tmp_path / "store" / "index.json.1.partial").write_text("left by a process that was killed while it finished")
    with (tmp_path / "store" / "shard-00000" / "status.jsonl").open("a") as file:
        file.write('{"clip": "cut o')
    launch(*command)
    assert contents(tmp_path / "store") == contents(whole)


def test_two_processes_equal_one(tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path) -> None:
    """With small shards, so that both have work; and the share of a process that died is done by the next run."""
    plan = json.loads((whole / "plan.json").read_text()) | {"shard_size": 7}
    listed = table(tmp_path / "clips.jsonl", clips)
    for folder, launcher in (
        ("one", ["mm-coach", "features", "extract", "--encoder", "tiny"]),
        (
            "two",
            [
                "accelerate", "launch", "--config_file", "recipes/accelerate/ddp.yaml", "-m", "mm_adapter.cli",
                "features", "extract", "--encoder", "tiny",
            ],
        ),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plan.json").write_text(json.dumps(plan))
        flags = [
            str(listed),
            str(tmp_path / folder),
            "--videos",
            str(tiny / "miniature"),
            "--batch-size",
            "4",
            "--decoder",
            "pyav",
        ]
        done = launch(*launcher, *flags)
        assert f"{len(clips)} clips, 0 left out" in done.stdout, done.stdout + done.stderr
        # Whichever process ends last finds everything done; when both end together, both do.
        reports = done.stdout.count(f"{len(clips)} clips, 0 left out") + done.stdout.count("others still have clips")
        assert reports == (2 if folder == "two" else 1), done.stdout
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    encoder, name = build_encoder("tiny", None)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "plan.json").write_text(json.dumps(plan))
    half = (encoder, name, clips, tiny / "miniature", tmp_path / "half", ExtractionOptions(batch_size=4))
    assert extract_features(*half, rank=1, world_size=2) is None
    assert extract_features(*half) == {}
    assert contents(tmp_path / "one") == contents(tmp_path / "half")


def test_options_change_what_is_stored_and_are_remembered(tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path) -> None:  # fmt: skip
    encoder, name = build_encoder("tiny", None)
    pooled = ExtractionOptions(output="pooled", batch_size=4)
    extract_features(encoder, name, clips[:4], tiny / "miniature", tmp_path / "pooled", pooled)
    store = FeatureStore(tmp_path / "pooled")
    embedding = store.get(clips[0].clip_id, "exo").astype(np.float32)
    assert embedding.shape == (1, 32) and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-2)
    moved = [replace(clips[0], stop=clips[0].stop + 1), *clips[1:]]
    small = ExtractionOptions(batch_size=2)
    four = ExtractionOptions(batch_size=4)
    for wanted, options, message in (
        (clips, replace(four, grid=2), r"preprocessing was .*grid of 1.*grid of 2"),
        (clips, small, "batch_size was 4, is 2"),
        (moved, four, r"clip .* was \{'start'"),
        (clips[1:], four, "another list of clips"),
        (clips[::-1], four, "another list of clips"),
    ):
        with pytest.raises(ValueError, match=f"begun with something else: .*{message}"):
            extract_features(encoder, name, wanted, tiny / "miniature", whole, options)
    with pytest.raises(ValueError, match="no clip to encode"):
        extract_features(encoder, name, [], tiny / "miniature", tmp_path / "none", four)
    with pytest.raises(ValueError, match="Unknown output"):
        ExtractionOptions(output="cls")
    with pytest.raises(ValueError, match="--retry-bad works with one process"):
        extract_features(encoder, name, clips, tiny / "miniature", whole, replace(four, retry_bad=True), 0, 2)
    with pytest.raises(ValueError, match="workers is 0"):
        ExtractionOptions(workers=0)


def test_bad_clips_are_reported_and_can_be_mended(
    tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    for clip in clips:
        for path in clip.videos.values():
            (videos / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tiny / "miniature" / path, videos / path)
    truncated, missing = (videos / clips[0].videos["ego"], videos / clips[-1].videos["exo"])
    truncated.write_bytes(truncated.read_bytes()[:1000])
    missing.unlink()
    bad = {c.clip_id for c in clips if clips[0].videos["ego"] in c.videos.values() or clips[-1].videos["exo"] in c.videos.values()}  # fmt: skip
    listed, out = table(tmp_path / "clips.jsonl", clips), tmp_path / "store"
    command = ["mm-coach", "features", "extract", "--encoder", "tiny", str(listed), str(out), "--videos", str(videos), "--batch-size", "4", "--decoder", "pyav"]  # fmt: skip
    refused = launch(*command, "--max-bad", "0.01", check=False)
    assert refused.returncode == 2 and "of 36 clips could not be encoded (at most 1% may fail)" in refused.stderr
    assert not (out / "manifest.json").exists()
    done = launch(*command, "--max-bad", "0.9")
    assert f"{36 - len(bad)} clips, {len(bad)} left out" in done.stdout
    store = FeatureStore(out)
    assert set(store.manifest.rejected) == bad
    assert "ego view" in store.manifest.rejected[clips[0].clip_id] and "cannot be" in store.manifest.rejected[clips[0].clip_id]  # fmt: skip
    assert "exo view" in store.manifest.rejected[clips[-1].clip_id] and "does not exist" in store.manifest.rejected[clips[-1].clip_id]  # fmt: skip
    with pytest.raises(KeyError, match="has no features: ego view"):
        store.get(clips[0].clip_id, "ego")
    # Readable neighbours of an unreadable clip have the bits they always have.
    good = FeatureStore(whole)
    for clip in store:
        assert np.array_equal(store.get(clip, "exo"), good.get(clip, "exo"))
    for path in (clips[0].videos["ego"], clips[-1].videos["exo"]):
        shutil.copy(tiny / "miniature" / path, videos / path)
    assert "left out" in launch(*command, "--max-bad", "0.9").stdout  # a finished store is left as it is
    launch(*command, "--retry-bad")
    assert contents(out) == contents(whole)


def test_views_go_by_their_names_whatever_their_order(
    tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path
) -> None:
    encoder, name = build_encoder("tiny", None)
    options = ExtractionOptions(batch_size=4)
    turned = [replace(c, videos=dict(reversed(c.videos.items()))) for c in clips[:4]]
    expected = FeatureStore(whole)
    for number, listed in enumerate(([clips[0], *turned[1:]], [turned[0], *clips[1:4]], turned)):
        out = tmp_path / f"store-{number}"
        extract_features(encoder, name, listed, tiny / "miniature", out, options)
        store = FeatureStore(out)
        assert store.manifest.views == ("ego", "exo")
        for clip in store:
            for view in ("ego", "exo"):
                assert np.array_equal(store.get(clip, view), expected.get(clip, view)), (number, clip, view)
    assert extract_features(encoder, name, clips[:4], tiny / "miniature", tmp_path / "store-0", options) == {}


@pytest.mark.parametrize("position", [0, 2])
def test_a_clip_without_a_view_of_the_others_is_left_out(
    tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path, position: int
) -> None:
    encoder, name = build_encoder("tiny", None)
    listed = clips[:4]
    lacking = listed[position] = replace(clips[position], videos={"exo": clips[position].videos["exo"]})
    options = ExtractionOptions(batch_size=4)
    with pytest.raises(
        ValueError,
        match=r"1 of 4 clips could not be encoded .*fail\): \S+: ego view: the clip names no video of it[^.]*\. Mend",
    ):
        extract_features(encoder, name, listed, tiny / "miniature", tmp_path / "refused", options)
    rejected = extract_features(
        encoder, name, listed, tiny / "miniature", tmp_path / "store", replace(options, max_bad_share=0.5)
    )
    store = FeatureStore(tmp_path / "store")
    assert rejected == store.manifest.rejected
    assert list(store.manifest.rejected) == [lacking.clip_id] and lacking.clip_id not in store and len(store) == 3
    for clip in store:
        for view in ("ego", "exo"):
            assert np.array_equal(store.get(clip, view), FeatureStore(whole).get(clip, view))


def test_views_of_a_store_have_no_order(tmp_path: Path) -> None:
    """Vectors of stores are compared, and stores are merged, whatever order their views were named in."""
    values = {"ego": np.array([[[1.0, 2.0]]], np.float16), "exo": np.array([[[3.0, 4.0]]], np.float16)}
    for clip, views in (("first", ("ego", "exo")), ("second", ("exo", "ego"))):
        writer = FeatureStoreWriter(tmp_path / clip, FeatureManifest("x", "h", "p", 1, 2, "float16", views), {clip: {}})
        writer.shards[0].write([clip], values, {})
        writer.finish()
    # As a store has it whose manifest was written by hand.
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    (tmp_path / "second" / "manifest.json").write_text(json.dumps(manifest | {"views": ["exo", "ego"]}))
    for clip in ("first", "second"):
        assert pooled_features(FeatureStore(tmp_path / clip), clip).tolist() == [1, 2, 3, 4]
    merge_stores([tmp_path / "second", tmp_path / "first"], tmp_path / "both")
    both = FeatureStore(tmp_path / "both")
    assert both.get("second", "ego").tolist() == [[1, 2]] and both.get("first", "exo").tolist() == [[3, 4]]


def test_one_view_and_own_tables(tiny: Path, clips: list[VideoClip], tmp_path: Path) -> None:
    listed = tmp_path / "clips.csv"
    listed.write_text(f"clip,start,stop,video\nfirst,0.0,1.0,{clips[0].videos['exo']}\n")
    launch(
        "mm-coach",
        "features",
        "extract",
        "--encoder",
        "tiny",
        str(listed),
        str(tmp_path / "store"),
        "--videos",
        str(tiny / "miniature"),
    )
    assert FeatureStore(tmp_path / "store").manifest.views == ("video",)
    for row, message in (
        ("a,1.0,0.5,x.mp4", "runs from 1.0 s to 0.5 s"),
        ("a,zero,1,x.mp4", "have to be seconds"),
        ("a,0,1,../x.mp4", "leaves the data set's folder"),
        ("a,0,1,", "each with the path of a video"),
        (",0,1,x.mp4", "needs clip, start, stop"),
        ("a,0,1,x.mp4\na,0,1,x.mp4", "'a' is listed twice"),
    ):
        listed.write_text(f"clip,start,stop,video\n{row}\n")
        with pytest.raises(ValueError, match=message):
            read_clips(listed)


# --- store -----------------------------------------------------------------------------------------------------------


def test_reads_are_views_and_survive_pickling_without_data(whole: Path, clips: list[VideoClip]) -> None:
    store = FeatureStore(whole)
    first = store.get(clips[0].clip_id, "ego")
    assert isinstance(first.base, np.ndarray) and not first.flags.writeable
    packed = pickle.dumps(store)
    assert len(packed) < 20_000
    assert np.array_equal(pickle.loads(packed).get(clips[0].clip_id, "ego"), first)
    assert store.missing([clips[0].clip_id, "nobody"]) == ["nobody"] and "nobody" not in store
    with pytest.raises(KeyError, match="nobody is not in the feature store"):
        store.get("nobody", "ego")


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path, FeatureManifest("x", "h", "p", 1, 2, "float16"), {"clip": {}})
    with pytest.raises(ValueError, match="Clip clip, view ego"):
        writer.shards[0].write(["clip"], {"ego": np.array([[[np.nan, 0]]]), "exo": np.zeros((1, 1, 2))}, {})


def test_a_shard_has_one_writer_at_a_time(tmp_path: Path) -> None:
    manifest = FeatureManifest("x", "h", "p", 1, 2, "float16", ("exo",))
    values = {"exo": np.ones((1, 1, 2), np.float16)}
    first = FeatureStoreWriter(tmp_path, manifest, {"clip": {}})
    first.shards[0].write(["clip"], values, {})
    second = FeatureStoreWriter(tmp_path, manifest, {"clip": {}})
    with pytest.raises(ValueError, match=r"Another process is writing .*shard-00000"):
        second.shards[0].write(["clip"], values, {})
    del first
    second.shards[0].write(["clip"], values, {})
    assert second.finish() == {}


def test_stores_of_earlier_versions_say_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"encoder": "x", "views": ["ego"]}))
    with pytest.raises(ValueError, match="written by an earlier version"):
        FeatureStore(tmp_path)


def test_verify_finds_what_changed(whole: Path, clips: list[VideoClip], tmp_path: Path) -> None:
    assert verify_store(whole) == []
    assert launch("mm-coach", "features", "verify", str(whole)).stdout.endswith("arrays as written\n")
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    array = np.lib.format.open_memmap(broken / "shard-00000" / "ego.npy", mode="r+")
    array[3, 0, 0] = np.nan
    array.flush()
    (broken / "shard-00000" / "exo.npy").unlink()
    (broken / "shard-00001" / "exo.npy").write_bytes(b"")
    index = json.loads((broken / "index.json").read_text())
    index[clips[0].clip_id], index[clips[1].clip_id] = index[clips[1].clip_id], index[clips[0].clip_id]
    (broken / "index.json").write_text(json.dumps(index))
    done = launch("mm-coach", "features", "verify", str(broken), check=False)
    assert done.returncode == 1
    for problem in (
        "ego.npy has changed",
        "ego.npy holds values that are not finite",
        "exo.npy is missing",
        "exo.npy is not readable",
        "index.json has changed",
    ):
        assert problem in done.stdout
    with pytest.raises(FileNotFoundError, match="no finished feature store"):
        verify_store(tmp_path)


def test_a_cut_shard_is_named_when_it_is_read(whole: Path, clips: list[VideoClip], tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(whole, store)
    shard = store / "shard-00000" / "exo.npy"
    shard.write_bytes(shard.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"shard-00000/exo\.npy cannot be read .*`mm-coach features verify"):
        FeatureStore(store).get(clips[0].clip_id, "exo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no finished feature store"),
        ({"request": {}, "counts": {}}, r"manifest\.json is no feature store's: it lacks encoder, .*views"),
        (["a list"], r"manifest\.json is no feature store's"),
        ("{cut", r"manifest\.json is damaged"),
    ],
    ids=["empty", "tuples", "list", "cut"],
)
def test_folders_that_are_no_store_are_told_in_a_sentence(
    tmp_path: Path, content: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if content is not None:
        (folder / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))
    for read in (lambda: FeatureStore(folder), lambda: verify_store(folder)):
        with pytest.raises((FileNotFoundError, ValueError), match=message) as raised:
            read()
        assert str(folder) in str(raised.value)
    for command in (["ls", str(folder)], ["verify", str(folder)], ["merge", str(tmp_path / "out"), str(folder)]):
        assert main(["features", *command]) == 2
        assert "Traceback" not in (err := capsys.readouterr().err) and folder.name in err


def test_a_store_without_its_index_is_told_in_a_sentence(whole: Path, clips: list[VideoClip], tmp_path: Path) -> None:
    for content in (None, "{cut"):
        store = tmp_path / f"store-{content}"
        shutil.copytree(whole, store)
        (store / "index.json").unlink()
        if content is not None:
            (store / "index.json").write_text(content)
        for read in (lambda: FeatureStore(store), lambda: merge_stores([store], tmp_path / "out")):  # noqa: B023
            with pytest.raises(ValueError, match=r"index\.json (is missing|is damaged).*extract"):
                read()
        assert any("index.json is missing" in p or "index.json is damaged" in p for p in verify_store(store))


def test_arrays_are_begun_under_a_name_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process left or writes under another name is neither taken nor overwritten."""
    writer = FeatureStoreWriter(tmp_path, FeatureManifest("x", "h", "p", 1, 2, "float16", ("exo",)), {"clip": {}})
    other = tmp_path / "shard-00000" / "exo.partial"
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(b"another's")
    writer.shards[0].write(["clip"], {"exo": np.ones((1, 1, 2), np.float16)}, {})
    assert other.read_bytes() == b"another's"


def test_merged_store_holds_both(tiny: Path, clips: list[VideoClip], whole: Path, tmp_path: Path) -> None:
    encoder, name = build_encoder("tiny", None)
    parts = {"first": clips[:10], "second": clips[10:]}
    for part, members in parts.items():
        extract_features(encoder, name, members, tiny / "miniature", tmp_path / part, ExtractionOptions(batch_size=4))
    launch("mm-coach", "features", "merge", str(tmp_path / "both"), str(tmp_path / "first"), str(tmp_path / "second"))
    both, reference = FeatureStore(tmp_path / "both"), FeatureStore(whole)
    assert list(both) == [c.clip_id for c in clips] and verify_store(tmp_path / "both") == []
    for clip in both:
        np.testing.assert_array_equal(both.get(clip, "ego"), reference.get(clip, "ego"))
    with pytest.raises(ValueError, match="shares 10 clips"):
        merge_stores([tmp_path / "first", whole], tmp_path / "again")
    with pytest.raises(ValueError, match="is not empty"):
        merge_stores([tmp_path / "first"], tmp_path / "both")
    other, name = build_encoder("tiny", None, seed=1)
    extract_features(other, name, clips[10:], tiny / "miniature", tmp_path / "other", ExtractionOptions())
    with pytest.raises(ValueError, match="cannot be merged; they differ in encoder_hash"):
        merge_stores([tmp_path / "first", tmp_path / "other"], tmp_path / "again")


def test_listing_says_what_made_a_store(whole: Path) -> None:
    out = launch("mm-coach", "features", "ls", str(whole), "--clips").stdout
    for expected in (
        "36 clips, 0 rejected",
        "InternVideo2-tiny (random weights)",
        "2 × 64 float16 for each of ego, exo",
    ):
        assert expected in out


# --- Omnivore --------------------------------------------------------------------------------------------------------


def omnivore_release(root: Path, takes: list[str], width: int = 6) -> Path:
    folder = root / "features" / "omnivore_video"
    folder.mkdir(parents=True)
    for take in takes:
        for camera, sign in (("aria01_rgb", 1.0), ("cam02_0", -1.0)):
            windows = sign * torch.arange(20.0)[:, None].expand(20, width)
            torch.save(windows.contiguous(), folder / f"{take}_{camera}.pt")
    return root


def omnivore_clip(take: str, start: int, stop: int) -> Clip:
    videos = (f"takes/{take}/frame_aligned_videos/downscaled/448/{name}.mp4" for name in ("aria01_214-1", "cam02"))
    return Clip(take, "p", "Novice", start, stop, *videos)


def test_omnivore_windows_are_those_of_the_clip(tmp_path: Path) -> None:
    release = omnivore_release(tmp_path / "release", ["t1", "t2"])
    clips = {c.clip_id: c for c in (omnivore_clip("t2", 32, 96), omnivore_clip("t1", 0, 320))}
    assert import_omnivore(release, clips, tmp_path / "store", num_tokens=4) == {}
    store = FeatureStore(tmp_path / "store")
    assert store.manifest.encoder.startswith("Omnivore") and store.manifest.width == 6
    # Window i is centred on frame 16·i + 16; the clip's quarters are centred on frames 40, 56, 72 and 88.
    assert store.get("t2:32-96", "ego")[:, 0].tolist() in ([1, 2, 3, 4], [2, 3, 4, 5])
    assert store.get("t1:0-320", "ego")[:, 0].tolist() in ([1, 6, 11, 16], [2, 7, 12, 17])
    assert np.array_equal(store.get("t1:0-320", "exo"), -store.get("t1:0-320", "ego"))


def test_omnivore_files_that_cannot_be_used_are_reported(tmp_path: Path) -> None:
    release = omnivore_release(tmp_path / "release", ["t1", "t2", "t3"])
    folder = release / "features" / "omnivore_video"
    (folder / "t1_cam02_0.pt").unlink()
    torch.save({"not": "a tensor"}, folder / "t2_aria01_rgb.pt")
    clips = {c.clip_id: c for c in (omnivore_clip("t1", 0, 32), omnivore_clip("t2", 0, 32), omnivore_clip("t3", 900, 960), omnivore_clip("t3", 0, 32))}  # fmt: skip
    with pytest.raises(ValueError, match="3 of 4 clips could not be encoded"):
        import_omnivore(release, clips, tmp_path / "refused", 2)
    late = omnivore_clip("t3", 0, 640)  # features end after 11 of its 21 seconds
    assert "end at 11.2 s" in import_omnivore(release, {"late": late}, tmp_path / "late", 4, max_bad_share=1.0)["late"]
    bad = import_omnivore(release, clips, tmp_path / "store", 2, max_bad_share=1.0)
    assert (
        "does not exist" in bad["t1:0-32"] and "expected a tensor" in bad["t2:0-32"] and "end at" in bad["t3:900-960"]
    )
    shutil.copy(folder / "t3_cam02_0.pt", folder / "t1_cam02_0.pt")
    again = import_omnivore(release, clips, tmp_path / "store", 2, max_bad_share=1.0, retry_bad=True)
    assert set(again) == {"t2:0-32", "t3:900-960"}
    with pytest.raises(FileNotFoundError, match=r"--parts features/omnivore_video"):
        import_omnivore(tmp_path, clips, tmp_path / "x", 2)
    assert feature_file("u", "takes/x/gp01.mp4") == "u_gp01_0.pt"
