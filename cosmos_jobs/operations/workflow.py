"""WorkflowOperations, put together of functions of a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cosmos_jobs.config import project
from cosmos_jobs.config.project import Project
from cosmos_jobs.operations.binding import Operation, Part
from cosmos_jobs.operations.session import begin

if TYPE_CHECKING:
    from cosmos_jobs.operations import (
        applying,
        enhancing,
        following,
        inference,
        library,
        listing,
        machines,
        measuring,
        planning,
        prompts,
        pruning,
        reporting,
        state_file,
    )
else:
    applying, enhancing, following, inference = map(
        Part, ("applying", "enhancing", "following", "inference")
    )
    library, listing, machines, measuring = map(
        Part, ("library", "listing", "machines", "measuring")
    )
    planning, prompts, pruning, reporting = map(
        Part, ("planning", "prompts", "pruning", "reporting")
    )
    state_file = Part("state_file")


class WorkflowOperations:
    """Everything that can be done in a project; every method may be called again at any time.

    Every method may be called where an event loop runs already, and from
    several threads at once. `notify` is told of each Event of the work as it
    happens, in the thread that does it. Methods that take `params` take every
    parameter of the engine, one value each: `num_steps=50`, and for what each
    control has `masks={"edge": "masks/pier.mp4"}`. What is left out has the
    engine's default. Wrong ids, weights and parameters are a UsageError, and
    nothing is written or started. A run that fails is no error: its `status`
    says so. A `connect_timeout_s` replaces what the targets' settings say.
    """

    def __init__(
        self,
        settings: Project,
        say: Callable[[str], None] = lambda line: None,
        *,
        offline: bool = False,
        asking: bool = True,
        connect_timeout_s: float | None = None,
    ) -> None:
        """Take a project; `say` gets what people should know of a shared state.

        With `offline` its last copy is read when it is out of reach, without
        `asking` in any case; else that is tried for `connect_timeout_s`.
        """
        if connect_timeout_s is not None:
            settings = settings.trying(connect_timeout_s)
        self.session = begin(settings, say, offline=offline, asking=asking)
        self.project = self.session.project
        self.store = self.session.store
        self.outputs = self.session.outputs

    @classmethod
    def open(cls, folder: str | Path = ".") -> Self:
        """Return the operations of the project that `folder` is in, else of `folder` itself.

        Raises UsageError when it is no folder, InvalidFiles for its cosmos-jobs.yaml.
        """
        return cls(project.load(project.find(Path(folder))))

    def close(self) -> None:
        """Let go of a shared state; it can be used again."""
        self.store.file.close()

    # Job files
    validate = Operation(planning.validate)
    plan = Operation(planning.plan)
    enhance = Operation(enhancing.enhance)
    apply = Operation(applying.apply)
    carry_out = Operation(applying.carry_out)

    # Without a job file
    create_prompt = Operation(prompts.create_prompt)
    plan_inference = Operation(prompts.plan_inference)
    quick_inference = Operation(inference.quick_inference)
    batch_inference = Operation(inference.batch_inference)
    inferred = Operation(prompts.inferred)
    create_run = Operation(inference.create_run)
    execute_run = Operation(inference.execute_run)
    enhance_prompt = Operation(enhancing.enhance_prompt)
    enhance_prompts = Operation(enhancing.enhance_prompts)
    draft_enhancements = Operation(enhancing.draft_enhancements)
    is_free = Operation(enhancing.is_free)
    upscale = Operation(planning.upscale)

    # Work in flight
    watch = Operation(following.watch)
    fetch = Operation(following.fetch)
    take_published = Operation(following.take_published)
    log = Operation(following.log)
    stream_logs = Operation(following.stream_logs)
    cancel = Operation(following.cancel)
    retrying = Operation(planning.retrying)
    adopt = Operation(following.adopt)

    # Results
    status = Operation(listing.status)
    in_flight = Operation(listing.in_flight)
    overview = Operation(listing.overview)
    stream_status = Operation(listing.stream_status)
    check_status = Operation(prompts.check_status)
    list_prompts = Operation(listing.list_prompts)
    list_runs = Operation(listing.list_runs)
    search_prompts = Operation(listing.search_prompts)
    select = Operation(listing.select)
    get_prompt = Operation(listing.get_prompt)
    get_run = Operation(listing.get_run)
    prompt_of = Operation(listing.prompt_of)
    manifest = Operation(listing.manifest)
    lost_videos = Operation(listing.lost_videos)
    reproduce = Operation(library.reproduce)
    evaluate = Operation(measuring.evaluate)
    measured = Operation(measuring.measured)
    ranked = Operation(measuring.ranked)
    report = Operation(reporting.report)
    rate = Operation(library.rate)
    import_ratings = Operation(library.import_ratings)
    export = Operation(library.export)
    import_store = Operation(library.import_store)
    verify = Operation(library.verify)
    deleting = Operation(library.deleting)
    delete = Operation(library.delete)
    orphans = Operation(pruning.orphans)
    job_runs = Operation(pruning.job_runs)
    jobs_without_file = Operation(pruning.jobs_without_file)
    prune = Operation(pruning.prune)
    prune_cache = Operation(pruning.prune_cache)
    prune_remote = Operation(pruning.prune_remote)

    # More
    doctor = Operation(machines.doctor)
    show_state = Operation(state_file.show_state)
    pull_state = Operation(state_file.pull_state)
    push_state = Operation(state_file.push_state)
    migrate_state = Operation(state_file.migrate_state)
    state_holder = Operation(state_file.state_holder)
