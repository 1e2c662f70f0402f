"""`mm-coach export`."""

from pathlib import Path
from typing import Literal

from mm_adapter.cli.flags import EncoderFlags

_NO_ENCODER = EncoderFlags()


def export(
    coach: str,
    out: Path,
    *,
    base_model: str | None = None,
    layout: Literal["coach", "llama"] = "coach",
    encoder: EncoderFlags = _NO_ENCODER,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
) -> None:
    """Write a coach as a checkpoint that engines load, with proof and model card.

    Args:
        coach: A run's coach/ or checkpoint-N folder, or a name on the Hub.
        out: New folder.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.
        layout: coach: vLLM with mm-coach beside it; llama: any engine, poses as text, no video.
        encoder: Encoder to pack too, as in `features extract`, for a server that takes videos.
        dtype: dtype of the weights; auto is bfloat16 on GPUs that have it.
    """
    import torch

    from mm_adapter.checkpoint.coach import SavedCoach
    from mm_adapter.distributed import native_dtype
    from mm_adapter.export.write import export_coach
    from mm_data.ground.files import check_apart

    check_apart(out, Path(coach), encoder.weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = native_dtype(device) if dtype == "auto" else getattr(torch, dtype)
    opened = SavedCoach.from_pretrained(coach, device, precision, base_model=base_model)
    proof = export_coach(opened, out, layout, encoder.build())
    print(
        f"{out}: {layout} layout in {proof['dtype']}; "
        f"log-probabilities differ by at most {proof['largest_difference']:.2g}, "
        f"their divergence is {proof['mean_divergence']:.2g} nats "
        f"(bound {proof['bound']} on the {proof['bounded'].replace('_', ' ')}) at {proof['positions']} positions, "
        f"the most likely token is the same at {proof['same_most_likely_token']:.1%}"
    )
