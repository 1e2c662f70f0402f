"""The model card of an exported coach."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.model.language_model import public_name
from mm_data.tasks.coaching import ASK_COMMENTARY, ASK_DEMONSTRATION, SYSTEM

_TEMPLATE = Path(__file__).with_suffix(".md")
_USE = {
    "coach": "`vllm serve FOLDER` with mm-coach installed beside vLLM: videos as `video_url` parts, pose tokens as text.",
    "llama": "Any engine that loads Llama: a clip is text, its pose tokens.",
}


def model_card(coach: SavedCoach, layout: str, proof: dict[str, Any]) -> str:
    """Writes what an export says about itself.

    Args:
        coach: Coach that was exported.
        layout: ``coach`` or ``llama``.
        proof: Comparison of the export with the coach, from `prove`.

    Returns:
        Markdown with the Hub's metadata.
    """
    config, schedule = coach.model.config, coach.run_config.get("schedule", {})
    clip = f"{config.pose_frames} frames × {config.pose_tokens_per_frame} pose tokens of {config.num_pose_codes} codes"
    if config.video_tokens:
        encoder = config.video_encoder.rsplit(" ", 1)[0]
        clip += f"; {config.video_tokens} video tokens from each of {' and '.join(config.views)} ({encoder})"
    metadata = ModelCardData(
        library_name="mm-coach",
        pipeline_tag="video-text-to-text",
        base_model=public_name(config.base_model),
        tags=["video", "coaching", "pose"],
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(_TEMPLATE),
        clip=clip,
        mode=config.mode,
        quantization=config.quantization,
        schedule=", ".join(f"{name} {schedule[name]}" for name in sorted(schedule)) or "unknown",
        layout=layout,
        proof=proof,
        use=_USE[layout],
        system=SYSTEM,
        ask_commentary=ASK_COMMENTARY,
        ask_demonstration=ASK_DEMONSTRATION,
    )
    return f"{card}\n"
