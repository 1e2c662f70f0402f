"""What an exported coach says about itself."""

from typing import Any

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.model.language_model import public_name
from mm_data.tasks.expertaf import ASK_COMMENTARY, ASK_DEMONSTRATION, SYSTEM


def model_card(coach: SavedCoach, layout: str, proof: dict[str, Any]) -> str:
    """Model card in Markdown with the Hub's metadata."""
    config, run = coach.model.config, coach.run_config
    schedule = run.get("schedule", {})
    clip = f"{config.pose_frames} frames × {config.pose_tokens_per_frame} pose tokens of {config.num_pose_codes} codes"
    if config.video_tokens:
        clip += f"; {config.video_tokens} video tokens from each of {' and '.join(config.views)} ({config.video_encoder.rsplit(' ', 1)[0]})"
    trained = ", ".join(f"{name} {schedule[name]}" for name in sorted(schedule)) or "unknown"
    serve = {
        "coach": "`vllm serve FOLDER` with mm-coach installed beside vLLM: videos as `video_url` parts, pose tokens as text.",
        "llama": "Any engine that loads Llama: a clip is text, its pose tokens.",
    }[layout]
    return f"""---
library_name: mm-coach
pipeline_tag: video-text-to-text
base_model: {public_name(config.base_model)}
tags: [video, coaching, pose]
---
# A video action coach

Made with mm-coach, after ExpertAF (CVPR 2025): it comments on a learner's clip, and shows the correction as pose tokens.

- **Clip**: {clip}.
- **Trained**: {config.mode}{f", base in {config.quantization}" if config.quantization else ""}; {trained}.
- **This export**: layout `{layout}`, {proof["dtype"]}; log-probabilities within {proof["largest_difference"]:.2g} of the coach's at
  {proof["positions"]} positions ({proof["mean_divergence"]:.2g} nats apart on average), the same most likely token at {proof["same_most_likely_token"]:.1%}.

## Use

{serve}

A conversation is a system turn ("{SYSTEM}"), the clip followed by "{ASK_COMMENTARY}", the remark, "{ASK_DEMONSTRATION}", and the
corrected poses. `pose_tokenizer/` decodes them to 17 COCO joints in metres.

## Limits

A coach repeats what its training remarks say and how they say it. It was not tested for safety advice, injuries or medical use. Weights of
the base model keep their own licence.
"""
