"""Feature extraction against decoding alone, store reads against raw memory maps, and the training step's wait for data.

    python benchmarks/features.py WORK [--clips 400] [--save]

Makes the tiny inputs in WORK (a miniature with videos). `ratio` is extraction's clips/s over those of decoding and
resizing alone, which is the limit; `data_wait_share` is the part of a training step that waits for its batch, with
SmolLM2-135M on samples of the paper's size.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from paper_sized import VIDEO_TOKENS, VIDEO_WIDTH, make_tiny, paper_sized, random_store
from record import finish, parse, timed
from torch.utils.data import DataLoader

from mm_adapter.distributed import device_and_dtype
from mm_adapter.features.extract import ExtractionOptions, extract_features, load_clip
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.samples.batching import WindowSampler
from mm_adapter.samples.collator import CoachCollator
from mm_data.features import FeatureStore
from mm_data.folders import read_clips
from mm_data.records import VideoClip

STORE_CLIPS = 2000  # 344 MiB


def extraction(work: Path, clips: list[VideoClip], videos: Path) -> dict[str, float]:
    """Clips/s of decoding alone and of the whole extraction, in turns."""
    encoder, name = build_encoder("tiny", None)
    encoder.to("cuda" if torch.cuda.is_available() else "cpu")
    options = ExtractionOptions()
    spent = {"decode": 0.0, "extract": 0.0}

    def decode() -> None:
        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(lambda clip: load_clip(clip, [*clip.videos], videos, encoder.config, options.decoder), clips))

    for turn in range(2):
        spent["decode"] += timed(decode)[0]
        store = work / "extraction" / f"{time.time():.0f}-{turn}"
        spent["extract"] += timed(extract_features, encoder, name, clips, videos, store, options)[0]
    return {what: 2 * len(clips) / value for what, value in spent.items()}


def store_reads(work: Path) -> dict[str, float]:
    """GB/s of random reads through the store and of the same bytes through a raw memory map, from the page cache."""
    names = [f"clip{i}" for i in range(STORE_CLIPS)]
    folder = random_store(work / "large_store", names, ("exo",))
    store = FeatureStore(folder)
    raw = np.load(folder / "shard-00000" / "exo.npy", mmap_mode="r")
    order = np.random.default_rng(1).permutation(len(raw))
    target = np.empty(raw.shape[1:], raw.dtype)

    def through_store() -> None:
        for row in order:
            np.copyto(target, store.get(names[row], "exo"))

    def through_map() -> None:
        for row in order:
            np.copyto(target, raw[row])

    through_store()
    times = np.array([[timed(through_store)[0], timed(through_map)[0]] for _ in range(7)])
    stored, mapped = raw.nbytes / 1e9 / np.median(times, axis=0)
    return {"store": stored, "raw": mapped}


def data_wait(work: Path, steps: int) -> dict[str, float]:
    """Seconds per training step, and of those spent waiting for the batch, whose features are as wide as the 1B's."""
    device, dtype = device_and_dtype()
    coach = paper_sized(work, device, dtype)
    shape = (coach.model.config.video_tokens, coach.model.config.video_width)
    collator = CoachCollator(coach.processor, coach.processor.end_of_turn_id, shape, layout="packed")
    sampler = WindowSampler(coach.dataset, 4, 1, 1, seed=0)
    loader = DataLoader(coach.dataset, batch_sampler=sampler, collate_fn=collator, num_workers=1)
    model = coach.model
    batches, waits, began = iter(loader), [], 0.0
    for step in range(steps + 2):
        if step == 2:  # the first steps start the worker and warm up
            began = time.perf_counter()
        before = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - before)
        del batch["samples"]
        batch = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
    step_seconds = (time.perf_counter() - began) / steps
    return {"step": step_seconds, "wait": float(np.mean(waits[2:]))}


def main() -> None:
    """Measures all three."""
    args = parse(__doc__, "work", clips=400, steps=20)
    tiny = make_tiny(args.work.resolve())
    clips, videos = read_clips(tiny / "tuples")
    clips = clips[: args.clips]

    speed = extraction(args.work, clips, videos)
    print(f"\n{len(clips)} clips of two views, 2 decoding threads\n")
    print(f"{'':36}{'clips/s':>10}{'ratio':>8}")
    for what, label in (("decode", "decode and resize alone"), ("extract", "extraction, tiny encoder")):
        print(f"{label:36}{speed[what]:>10.1f}{speed[what] / speed['decode']:>8.2f}")
    reads = store_reads(args.work)
    print(f"\nrandom reads of {VIDEO_TOKENS} × {VIDEO_WIDTH} float16 from the page cache: store {reads['store']:.1f} GB/s, raw memory map {reads['raw']:.1f} GB/s")  # fmt: skip
    waiting = data_wait(args.work.resolve(), args.steps)
    share = waiting["wait"] / waiting["step"]
    print(f"training step {waiting['step'] * 1000:.0f} ms, of which {waiting['wait'] * 1000:.2f} ms wait for the batch ({share:.2%})")  # fmt: skip
    result = {
        "ratio": round(speed["extract"] / speed["decode"], 3),
        "clips_per_s": round(speed["extract"], 1),
        "decode_clips_per_s": round(speed["decode"], 1),
        "store_read_ratio": round(reads["store"] / reads["raw"], 3),
        "store_gb_per_s": round(reads["store"], 2),
        "data_wait_share": round(share, 4),
    }
    finish("features", result, args.save)


if __name__ == "__main__":
    main()
