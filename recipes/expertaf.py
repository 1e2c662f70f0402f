r"""ExpertAF: trains one coach for commentary (F_t), expert retrieval (F_r) and corrected poses (F_g).

Does: mappers only, LoRA, QLoRA (NF4) or full fine-tuning of a Llama-architecture model; the three functions jointly in set
proportions or separately (``--formats``, ``--format_weights``); several stages in one run (``--stages``); one process, DDP,
ZeRO-2, ZeRO-3, FSDP2 and several nodes through the files in `recipes/accelerate/`; evaluation on held-out learners while
it trains; complete checkpoints; going on after a crash or SIGTERM by running the same command again, also on another number
of processes with the same number of samples per step; ``--dry-run``.
Does not: encode video or poses (`mm-coach features extract` and `mm-coach tokenizer encode` do, once), or evaluate on
the test split (`mm-coach evaluate`).
Refuses: unknown keys; features or pose codes of another encoder or tokenizer; clips that extraction never saw (tuples of clips
that it rejected are left out and counted); samples without supervised tokens or longer than ``max_length``; going on under
other settings than the run was begun with; a loss or gradient that is not finite.

    accelerate launch --config_file recipes/accelerate/cpu.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/quickstart.yaml --learning_rate 1e-3
    accelerate launch --config_file recipes/accelerate/zero3.yaml recipes/expertaf.py \\
        --config recipes/configs/expertaf/llama3_8b_lora.yaml
    python recipes/expertaf.py --config recipes/configs/expertaf/llama3_8b_lora.yaml --dry-run
"""

import dataclasses
import gc
import shlex
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from trl.scripts.utils import TrlParser

from mm_adapter.base_models import (
    LORA_TARGETS,
    load_language_model,
    native_dtype,
    text_config,
    weights_fingerprint,
)
from mm_adapter.checkpoint import add_lora, copy_coach, last_complete_checkpoint, load_trainable
from mm_adapter.configuration import CoachConfig
from mm_adapter.dataset import CoachCollator, CoachDataset, hold_out, without_rejected
from mm_adapter.joints import JointStore
from mm_adapter.manifest import is_complete
from mm_adapter.modeling import CoachForConditionalGeneration
from mm_adapter.monitoring import SampleCommentaries
from mm_adapter.packed_attention import PACKED_SDPA
from mm_adapter.plan import estimate_memory, print_plan
from mm_adapter.processing import CoachProcessor
from mm_adapter.run_directory import check_same_run, run_record, write_run_record
from mm_adapter.training import CoachTrainer, set_trainable
from mm_data.features import FeatureStore
from mm_data.tuple_store import read_tuples
from mm_data.variants import vary_experts
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, PoseVocabulary, fingerprint, load_tokenizer
from mm_tokenizers.codes import PoseCodeStore


@dataclass
class CoachArguments:
    """What is trained on what. Paths come from earlier commands."""

    language_model: str = field(metadata={"help": "Hub name or folder of a Llama-architecture instruct model."})
    tuples: str = field(metadata={"help": "Folder written by `mm-coach data build`."})
    pose_tokenizer: str = field(metadata={"help": "Folder written by recipes/pose_tokenizer.py."})
    pose_codes: str = field(metadata={"help": "Folder written by `mm-coach tokenizer encode`."})
    features: str | None = field(default=None, metadata={"help": "Feature store; leave out for a pose-only coach."})
    mode: str = field(default="lora", metadata={"help": "mappers, lora or full."})
    formats: list[str] = field(
        default_factory=lambda: ["commentary", "demonstration"],
        metadata={"help": "Sample formats per tuple: commentary, demonstration, dialogue."},
    )
    format_weights: list[float] | None = field(
        default=None,
        metadata={"help": "How often an epoch shows each tuple in each of the formats: 1 once, 0.5 every other tuple."},
    )
    stages: list[str] | None = field(
        default=None,
        metadata={
            "help": "Settings of each stage as flags, such as '--mode mappers --max_steps 500'; each begins where the last ended."
        },
    )
    start_from: str | None = field(default=None, metadata={"help": "Coach whose mappers and pose rows to begin with."})
    expert_drop: float = field(
        default=0.5, metadata={"help": "Share of commentary questions without the expert's clip."}
    )
    experts: str = field(
        default="own", metadata={"help": "own, or activity: one demonstration for all tuples of an activity."}
    )
    views: list[str] = field(default_factory=lambda: ["ego", "exo"], metadata={"help": "Video views of a clip."})
    pose_form: str = field(default="tokens", metadata={"help": "Poses of a clip: tokens, text (coordinates) or none."})
    pose_input: str = field(default="mapper", metadata={"help": "mapper (f_pm over the codebook) or rows."})
    pose_frames: int = field(default=10, metadata={"help": "T, frames per clip."})
    attention: str = field(default=PACKED_SDPA, metadata={"help": "packed_sdpa, or flash_attention_2 where installed."})
    liger: bool = field(default=False, metadata={"help": "Fused kernels of the liger extra (GPU)."})
    dtype: str = field(default="auto", metadata={"help": "Frozen weights: auto, bfloat16 or float32."})
    quantization: str | None = field(default=None, metadata={"help": "nf4 for QLoRA."})
    lora_r: int = field(default=64, metadata={"help": "Rank of LoRA."})
    lora_alpha: int = field(default=128, metadata={"help": "Scale of LoRA."})
    lora_targets: list[str] = field(
        default_factory=lambda: [*LORA_TARGETS], metadata={"help": "Linear layers that get an adapter."}
    )
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout of LoRA."})
    mapper_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the mappers."})
    pose_row_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the pose rows."})
    max_length: int = field(default=2048, metadata={"help": "Longest sample in tokens; longer ones are an error."})
    validation_share: float = field(
        default=0.0, metadata={"help": "Share of the learners held out for evaluation during training."}
    )
    eval_commentaries: int = field(default=4, metadata={"help": "Remarks written down at every evaluation."})
    max_train_tuples: int | None = field(default=None, metadata={"help": "Use only the first tuples."})
    dry_run: bool = field(default=False, metadata={"help": "Build everything, print the plan, train nothing."})
    plan_video_tokens: int = field(default=32, metadata={"help": "Dry run without features: V per view."})
    plan_video_width: int = field(default=1408, metadata={"help": "Dry run without features: feature width."})
    plan_gpu: str | None = field(default=None, metadata={"help": "Dry run: GPU that it has to fit, such as A100-80GB."})
    plan_world_size: int = field(default=1, metadata={"help": "Dry run: processes that share under ZeRO."})
    plan_zero_stage: int = field(default=0, metadata={"help": "Dry run: ZeRO stage, 0 for DDP."})


def resolve_dtype(name: str, training: TrainingArguments) -> torch.dtype:
    """The frozen weights' type; ``auto`` asks the hardware."""
    if name == "auto":
        return native_dtype(training.device)
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def coach_config(
    args: CoachArguments, text: Any, first_id: int, tokenizer: PoseTokenizer, store: FeatureStore | None
) -> CoachConfig:
    """The model's configuration from its parts."""
    video = store.manifest if store and args.views else None
    return CoachConfig(
        text_config=text,
        base_model=args.language_model,
        quantization=args.quantization,
        mode=args.mode,
        first_pose_id=first_id,
        num_pose_codes=tokenizer.architecture.num_codes,
        pose_tokens_per_frame=tokenizer.architecture.num_tokens,
        pose_frames=args.pose_frames,
        pose_code_dim=tokenizer.architecture.token_dim,
        pose_input=args.pose_input,
        pose_form=args.pose_form,
        pose_tokenizer=fingerprint(tokenizer),
        video_tokens=video.num_tokens if video else 0,
        video_width=video.width if video else 0,
        views=args.views,
        video_encoder=f"{video.encoder} {video.encoder_hash}" if video else "",
    )


def dry_run(args: CoachArguments, training: TrainingArguments) -> None:
    """Builds the run on the meta device and prints what it would do. Missing inputs are named, not fatal."""
    needed = {
        "tuples": args.tuples,
        "pose tokenizer": args.pose_tokenizer,
        "pose codes": args.pose_codes,
        "features": args.features,
    }
    missing = [f"{what} at {path}" for what, path in needed.items() if path is not None and not Path(path).is_dir()]
    text, origin = text_config(args.language_model)
    if origin == "published shape":
        missing.append(f"the weights of {args.language_model} (its {origin} is used here)")
    has_tokenizer = Path(args.pose_tokenizer).is_dir()
    tokenizer = load_tokenizer(Path(args.pose_tokenizer)) if has_tokenizer else PoseTokenizer(PoseTokenizerConfig())
    store = FeatureStore(Path(args.features)) if args.features and Path(args.features).is_dir() else None
    config = coach_config(args, text, text.vocab_size, tokenizer, store)
    if args.features and store is None:
        config.video_tokens, config.video_width = args.plan_video_tokens, args.plan_video_width
    with torch.device("meta"):
        language_model = AutoModelForCausalLM.from_config(text, dtype=torch.bfloat16)
        if args.mode == "lora":
            add_lora(language_model, lora_config(args))
        model = CoachForConditionalGeneration(
            config, language_model, torch.empty(config.num_pose_codes, config.pose_code_dim)
        )
    set_trainable(model, args.mode)

    vocabulary = PoseVocabulary(
        config.first_pose_id, config.num_pose_codes, config.pose_tokens_per_frame, args.pose_frames
    )
    media = vocabulary.clip_length + 2 * config.video_tokens
    words = 110  # template, questions and a one-sentence remark
    budget = {
        "commentary": (words + media * (2 if args.expert_drop < 1 else 1), 40),
        "demonstration": (words + media + vocabulary.clip_length, vocabulary.clip_length + 1),
        "dialogue": (words + media + vocabulary.clip_length, vocabulary.clip_length + 41),
    }
    length, supervised = max(budget[form] for form in args.formats)
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * args.plan_world_size
    facts: dict[str, Any] = {
        "language model": f"{args.language_model} ({origin})",
        "mode": args.mode + (f", {args.quantization} weights" if args.quantization else ""),
        "tokens per clip": f"{vocabulary.clip_length} pose + 2 × {config.video_tokens} video",
        **{
            f"tokens per sample: {form}": f"at most about {budget[form][0]}, {budget[form][1]} supervised"
            for form in args.formats
        },
        "global batch": f"{per_step} samples ({args.plan_world_size} processes)",
    }
    if Path(args.tuples).is_dir():
        samples = len(read_tuples(Path(args.tuples), "train")) * len(args.formats)
        steps = (
            training.max_steps if training.max_steps > 0 else int(samples / per_step * training.num_train_epochs + 1)
        )
        facts["samples"], facts["optimizer steps"] = samples, steps
    memory = estimate_memory(
        model,
        training.per_device_train_batch_size,
        length,
        supervised,
        training.gradient_checkpointing,
        args.plan_zero_stage,
        args.plan_world_size,
        quantized=args.quantization is not None,
    )
    print_plan(model, facts, memory, missing)


def schedule(training: TrainingArguments) -> dict[str, Any]:
    """What decides the course of a run besides the coach's arguments; a run that goes on must agree with it."""
    names = (
        "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "num_train_epochs",
        "max_steps", "seed", "bf16",
    )  # fmt: skip
    resolved = training.to_dict()
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size
    return {**{name: resolved[name] for name in names}, "samples_per_step": per_step}


def lora_config(args: CoachArguments) -> LoraConfig:
    """LoRA as configured."""
    return LoraConfig(
        r=args.lora_r, lora_alpha=args.lora_alpha, lora_dropout=args.lora_dropout, target_modules=args.lora_targets
    )


def run_stages(parser: TrlParser, args: CoachArguments, training: TrainingArguments) -> None:
    """Trains every stage from where the last one ended; all settings are checked before the first begins."""
    stages = [parser.parse_args_and_config([*sys.argv[1:], *shlex.split(stage)]) for stage in args.stages or [""]]
    run, start_from = Path(str(training.output_dir)), args.start_from
    for number, (own, settings) in enumerate(stages, start=1):
        last = number == len(stages)
        folder = run if last else run / f"stage-{number}"
        own = dataclasses.replace(own, start_from=start_from)
        if not is_complete(folder / "coach"):
            train(own, dataclasses.replace(settings, output_dir=str(folder)))
        gc.collect()
        start_from = str(folder / "coach")


def train(args: CoachArguments, training: TrainingArguments) -> None:
    """Trains one stage and saves; run again to resume."""
    dtype = resolve_dtype(args.dtype, training)
    # Mixed precision follows the frozen weights; what trains stays in float32. `replace` runs the argument checks again.
    on_cpu = training.device.type == "cpu"  # said aloud, because bf16 without a GPU is refused otherwise
    training = dataclasses.replace(
        training,
        bf16=dtype == torch.bfloat16,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # every parameter takes part in every step
    )
    run, main_process = Path(str(training.output_dir)), training.process_index == 0
    torch.manual_seed(training.seed)

    # --- frozen inputs ---------------------------------------------------------------------------------------------
    tuples = vary_experts(read_tuples(Path(args.tuples), "train")[: args.max_train_tuples], args.experts)
    pose_tokenizer = load_tokenizer(Path(args.pose_tokenizer))
    codes = PoseCodeStore.load(Path(args.pose_codes))
    if codes.tokenizer_fingerprint != fingerprint(pose_tokenizer) or codes.frames != args.pose_frames:
        raise ValueError(
            f"{args.pose_codes} holds {codes.frames} frames per clip from tokenizer {codes.tokenizer_fingerprint[:12]}, but this run "
            f"wants {args.pose_frames} frames from {fingerprint(pose_tokenizer)[:12]}; run `mm-coach tokenizer encode` again."
        )
    store = FeatureStore(Path(args.features)) if args.features and args.views else None
    tuples, unusable = without_rejected(tuples, store)
    if unusable and main_process:
        print(f"[data] {unusable} of {unusable + len(tuples)} tuples left out: feature extraction rejected their clips")
    tuples, held_out = hold_out(tuples, args.validation_share, training.seed)
    if training.eval_strategy != "no" and not held_out:
        raise ValueError(f"--eval_strategy {training.eval_strategy} needs a --validation_share above 0.")

    # --- model -----------------------------------------------------------------------------------------------------
    language_model = load_language_model(
        args.language_model, torch.float32 if args.mode == "full" else dtype, args.quantization, args.attention
    )
    if args.liger:
        from liger_kernel.transformers import apply_liger_kernel_to_llama  # pyright: ignore[reportMissingImports]

        apply_liger_kernel_to_llama(
            model=language_model, fused_linear_cross_entropy=False
        )  # the coach has its own loss
    if args.mode == "lora":
        add_lora(language_model, lora_config(args))
    text_tokenizer = AutoTokenizer.from_pretrained(args.language_model)
    config = coach_config(args, language_model.config, len(text_tokenizer), pose_tokenizer, store)
    config.base_model_fingerprint = weights_fingerprint(args.language_model)
    processor = CoachProcessor(text_tokenizer, config.clip_format)
    model = CoachForConditionalGeneration(config, language_model, pose_tokenizer.quantizer.codebook)
    model.initialise_new_parts()
    if args.start_from:
        load_trainable(Path(args.start_from), model, new_parts_only=True)
    set_trainable(model, args.mode)
    if training.gradient_checkpointing:
        language_model.enable_input_require_grads()

    # --- data ------------------------------------------------------------------------------------------------------
    formats = dict(zip(args.formats, args.format_weights or [1.0] * len(args.formats), strict=True))
    poses = codes if args.pose_form != "text" else JointStore.read(Path(args.tuples), args.pose_frames)
    options = (processor, poses, store, args.expert_drop, args.max_length, training.seed)
    dataset = CoachDataset(tuples, formats, *options)
    validation = CoachDataset(held_out, formats, *options) if held_out else None
    collator = CoachCollator(
        processor,
        processor.end_of_turn_ids[0],  # padding is masked; Llama-3 has no token of its own for it
        (store.manifest.num_tokens, store.manifest.width) if store else None,
        layout="packed",
    )

    # --- train -----------------------------------------------------------------------------------------------------
    record = run_record(coach=args, schedule=schedule(training), training=training.to_dict(), seed=training.seed)
    checkpoint = None
    with training.main_process_first(desc="looking for checkpoints"):
        checkpoint = last_complete_checkpoint(run)
        if checkpoint is not None:
            check_same_run(run, record, ("coach", "schedule"))
    if main_process:
        write_run_record(run, record)
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        print(
            f"[trainable] {trainable:,} parameters  [frozen] {frozen:,}  weights {dtype}  {len(dataset)} samples of up to {dataset.longest} tokens"
        )
        if checkpoint is not None:
            print(f"Resuming from {checkpoint}")
    trainer = CoachTrainer(
        processor=processor,
        pose_tokenizer=pose_tokenizer,
        run_config=record,
        mapper_learning_rate=args.mapper_learning_rate,
        pose_row_learning_rate=args.pose_row_learning_rate,
        model=model,
        args=training,
        train_dataset=dataset,
        eval_dataset=validation,
        data_collator=collator,
    )
    if held_out and args.eval_commentaries:
        trainer.add_callback(SampleCommentaries(trainer, poses, store, held_out, args.eval_commentaries))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.stop_on_signal.stopped:
        print(f"Stopped by SIGTERM after step {trainer.state.global_step}; run the same command again to go on.")
        sys.exit(128 + signal.SIGTERM)
    trainer.save_state()
    if trainer.state.best_model_checkpoint is None:
        trainer.save_model(str(run / "coach"))
    elif main_process:
        print(f"Best on the held-out learners: {trainer.state.best_model_checkpoint}")
        copy_coach(Path(trainer.state.best_model_checkpoint), run / "coach")


if __name__ == "__main__":
    parser = TrlParser((CoachArguments, TrainingArguments))  # type: ignore[arg-type]
    arguments, training_arguments = parser.parse_args_and_config()
    if arguments.dry_run:
        dry_run(arguments, training_arguments)
    else:
        run_stages(parser, arguments, training_arguments)
