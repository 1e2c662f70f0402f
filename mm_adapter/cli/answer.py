"""`mm-coach answer`: a system's answers to a task's test items."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from mm_adapter.cli.endpoints import ServerFlags
from mm_adapter.cli.flags import EngineFlags, ItemSetFlags, SamplingFlags, Switches, words_of

if TYPE_CHECKING:
    from mm_adapter.evaluation.endpoint_system import EndpointSystem
    from mm_adapter.evaluation.item_set import ItemSet
    from mm_adapter.evaluation.open import ItemRequest
    from mm_adapter.evaluation.system import System
    from mm_adapter.inference.protocols import Answerer

_ANSWER_TOKENS = 400


@Parameter(name="*")
@dataclass(frozen=True)
class PictureFlags:
    """What a model behind an endpoint sees of a clip."""

    frames: int = 8
    """Endpoint: number of frames per view, evenly spaced."""

    image_size: int = 448
    """Endpoint: most pixels of the longer side."""

    views: Annotated[tuple[Literal["exo", "ego"], ...], Parameter(consume_multiple=1)] = ("exo", "ego")
    """Endpoint: views that are shown."""

    max_failed: float = 0.02
    """Endpoint: share of answers that may fail."""


_WHOLE, _GREEDY, _PICTURES, _SERVER = ItemSetFlags(), SamplingFlags(), PictureFlags(), ServerFlags()


def answer(
    system: str,
    items: Path,
    out: Path,
    *,
    item_set: ItemSetFlags = _WHOLE,
    demonstrator: Path | None = None,
    base_model: str | None = None,
    switches: Switches | None = None,
    sampling: SamplingFlags = _GREEDY,
    engine: str | None = None,
    vllm: EngineFlags | None = None,
    pictures: PictureFlags = _PICTURES,
    server: ServerFlags = _SERVER,
) -> None:
    """Write a system's answers to a task's test items, for `eval`, `report`, `judge` and `human`; resumes.

    Several processes share the items of a coach: accelerate launch -m mm_adapter.cli answer ...

    Args:
        system: A coach (a run's coach/ or checkpoint-N folder, or a name on the Hub); an export, which vLLM runs; the address of an
            OpenAI-compatible endpoint (http://.../v1), whose model sees frames; nearest-neighbour:video or :pose; a trained matcher; or
            a file of answers made elsewhere (.jsonl or .csv with item_id, text, score, ...).
        items: Folder of items, or of tuples.
        out: Folder for the answers.
        item_set: Which items are asked about, and what is seen of them.
        demonstrator: Another coach that chooses and shows after the first one's remarks.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.
        switches: Switches of the task.
        sampling: How tokens are drawn.
        engine: Address of a vLLM server that serves the export already, instead of starting vLLM here.
        vllm: Flags for vLLM: --vllm.max-model-len 4096; `true` after one that takes no value: --vllm.enforce-eager true.
        pictures: What a model behind an endpoint sees.
        server: The endpoint.
    """
    from mm_adapter.cli.console import stage_progress
    from mm_adapter.distributed import launched_processes
    from mm_adapter.evaluation.answer_folder import answer_folder
    from mm_adapter.evaluation.open import NEAREST, ItemRequest, open_coach, open_system
    from mm_data.ground.files import check_apart
    from mm_eval.answers.test_sets import OURS

    request, chosen = ItemRequest(items, item_set.features, item_set.codes, item_set.max_items), switches or {}
    is_endpoint, is_export = system.startswith(("http://", "https://")), _is_export(Path(system))
    place = None if is_endpoint or system in NEAREST else Path(system)
    check_apart(out, place, items, item_set.features, item_set.codes, demonstrator)
    is_coach = place is not None and not is_export and not place.is_file()
    for flag, value, fits in (
        ("--vllm", vllm, is_export and engine is None),
        ("--engine", engine, is_export),
        ("--base-model", base_model, is_coach),
        ("--demonstrator", demonstrator, is_coach),
        ("--temperature and the like", sampling != _GREEDY, is_coach or is_export or is_endpoint),
        ("--model", server.model, is_endpoint),
    ):
        if value and not fits:
            raise ValueError(f"{flag}: {system} has no use for it; leave it out.")
    state = launched_processes()
    with ExitStack() as stack, stage_progress(quiet=not state.is_main_process) as progress:
        test = request.open()
        asked: System
        if is_endpoint:
            asked = _endpoint(system, test, out, chosen, sampling, pictures, server)
            if server.estimate:
                return
        elif is_export:
            asked = _export(Path(system), request, chosen, engine, words_of(vllm), sampling, stack)
        elif is_coach and (demonstrator is not None or sampling != _GREEDY):
            asked = open_coach(Path(system), request, chosen, base_model, demonstrator, sampling.sampling())
        else:
            asked = open_system(system, request, chosen, base_model)
        written = answer_folder(asked, test, out, progress)
    if written is None:
        return print(f"process {state.process_index} is done; others still have items")
    for note in written.about.notes:
        print(note)
    unread = sum(bool(item.answers[OURS].unread) for item in written.answers)
    inputs = "; ".join(["", *written.about.inputs])
    print(f"{out}: {len(written.answers)} answers, {unread} of them not wholly readable{inputs}")
    print(f"mm-coach eval {out}\nmm-coach report {out} PAGE")


def _is_export(folder: Path) -> bool:
    from mm_adapter.checkpoint.seal import EXPORT_RECORD

    return (folder / EXPORT_RECORD).is_file()


def _export(
    folder: Path,
    request: ItemRequest,
    switches: dict[str, str],
    address: str | None,
    flags: list[str],
    sampling: SamplingFlags,
    stack: ExitStack,
) -> System:
    """Starts vLLM with an export, or finds the server that serves it."""
    from mm_adapter.evaluation.coach_system import CoachSystem
    from mm_adapter.evaluation.item_set import open_inputs
    from mm_adapter.evaluation.opened_late import OpenedLate
    from mm_adapter.export.read import ExportedCoach
    from mm_adapter.serving.http.answerer import EngineAnswerer
    from mm_adapter.serving.http.engine import Engine
    from mm_adapter.serving.http.exported_coach import Export
    from mm_adapter.serving.vllm.offline import VllmCoach
    from mm_adapter.tasks.known import trained_tasks
    from mm_data.tasks.coaching import shows_poses
    from mm_tokenizers import load_tokenizer

    record = ExportedCoach.read(folder)
    store, poses = open_inputs(record.config, request.folder, request.features, request.codes)
    if address is None:
        coach: Answerer = OpenedLate(
            lambda: stack.enter_context(VllmCoach(folder, poses, store, flags)),
            at_once=VllmCoach.at_once,
            can_choose=record.can_choose,
            can_demonstrate=shows_poses(record.source["formats"]),
            pose_tokenizer=load_tokenizer(folder / "pose_tokenizer"),
        )
    else:
        running = Engine(address, os.environ.get("VLLM_API_KEY", ""))
        running.find_model()
        coach = EngineAnswerer(running, Export.open(folder), poses, store)
    tasks = trained_tasks(record.source)
    return CoachSystem(coach, record.identity, "vllm", poses, [], tasks, switches, sampling.sampling())


def _endpoint(
    address: str,
    items: ItemSet,
    out: Path,
    switches: dict[str, str],
    sampling: SamplingFlags,
    pictures: PictureFlags,
    server: ServerFlags,
) -> EndpointSystem:
    """Names an endpoint's model, what it sees, and what it may cost; prints an estimate where one is asked for."""
    from dataclasses import replace

    from mm_adapter.evaluation.endpoint_system import EndpointSystem
    from mm_adapter.tasks.zero_shot import Frames

    if sampling.top_p != 1.0 or sampling.top_k:
        print("--top-p and --top-k are not sent to endpoints; --temperature and --seed are", file=sys.stderr)
    endpoint = server.endpoint(address, _ANSWER_TOKENS, sampling.temperature, sampling.seed)
    frames = Frames(pictures.frames, pictures.image_size, pictures.views)
    asked = EndpointSystem(endpoint, frames, switches, pictures.max_failed)
    if not server.estimate and server.max_cost is None:
        return asked
    estimate = asked.estimate(items, out)
    server.print_estimate(estimate)
    return asked if server.estimate else replace(asked, budget=server.budget(estimate))
