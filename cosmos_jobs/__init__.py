"""cosmos-jobs: declare videos in job files; run only what is pending.

Data flows one way. A package may import those below it (kept by import-linter):

    cli         the command line: options, completion, exit codes; `views` are for readers
    operations  WorkflowOperations: all that can be done, the one interface
    apply       carry a plan out: claim, submit, collect, record, publish to the remotes of a
                team, adopt
    report      the page to look at a sweep, its program and its media; ratings
    checks      numbers of videos: images, one video beside its input, all of a job
    jobs        a job file to prompts and runs; jobs that no file asks for; export
    state       what is known: the store, its backends, what comes in and what goes
    targets     machines: hosts, executors, the doctor
    engines     how a model is called; `preview` is a program of its own, and
                `drivers` are run in the models' environments
    enhancers   how prompts are written in more detail
    artifacts   files by content: media (their one reader), digests, outputs
    plan        what is desired against what is known, in batches, with an estimate
    config      cosmos-jobs.yaml, JSON Schemas, YAML text to values
    core        the values that flow, and the words for them
    errors      every deliberate error and its exit code

`core`, `plan`, the expansion of `jobs` and the engines' adapters are pure: no
disk, network, clock or terminal there.
"""

__version__ = "0.1.0"
