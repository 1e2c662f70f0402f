"""Clips/s and memory of an InternVideo2 size with random weights, for every attention kernel that runs here.

    python benchmarks/video_encoder.py [--preset 1B] [--dtype bfloat16] [--batch-size 8] [--save]

`ratio` is flash-attn's clips/s over PyTorch SDPA's, or null where flash-attn does not run (it needs CUDA).
"""

import torch
from record import finish, parse, timed

from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.features.internvideo2.modeling import ATTENTION


def main() -> None:
    """Times the forward pass."""
    args = parse(__doc__, preset="1B", dtype=("bfloat16", "float16", "float32"), batch_size=8, batches=10)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder, name = build_encoder(args.preset, None, dtype=getattr(torch, args.dtype), random_weights=True)
    encoder.to(device)
    config = encoder.config
    video = torch.randn(args.batch_size, 3, config.frames, config.image_size, config.image_size, device=device)

    @torch.inference_mode()
    def encode(batches: int) -> None:
        for _ in range(batches):
            encoder(video, grid=2)
        if device.type == "cuda":
            torch.cuda.synchronize()

    speed: dict[str, float | None] = dict.fromkeys(ATTENTION)
    memory = 0.0
    print(f"{name}, {args.dtype}, {config.frames} frames, batches of {args.batch_size} on {device}")
    for kind in ATTENTION:
        try:
            encoder.use_attention(kind)
        except (ValueError, ModuleNotFoundError) as error:
            print(f"{kind:8} not measured: {error}")
            continue
        encode(1)  # warms up
        speed[kind] = args.batches * args.batch_size / timed(encode, args.batches)[0]
        memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        print(f"{kind:8} {speed[kind]:8.2f} clips/s" + (f", {memory:.1f} GiB" if memory else ""))
    sdpa, flash = speed["sdpa"], speed["flash"]
    result = {
        "ratio": round(flash / sdpa, 3) if flash and sdpa else None,
        "encoder": name,
        "dtype": args.dtype,
        "sdpa_clips_per_s": sdpa and round(sdpa, 2),
        "flash_clips_per_s": flash and round(flash, 2),
        "peak_gib": round(memory, 2),
    }
    finish("video_encoder", result, args.save)


if __name__ == "__main__":
    main()
