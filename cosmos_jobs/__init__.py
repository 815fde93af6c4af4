"""cosmos-jobs: declare videos in job files; run only what is pending.

Data flows one way. A module may import those below it (kept by import-linter):

    cli                 parse the command line, call operations, render, exit code
    render              plans, tables, diagnostics, results and progress for readers
    operations          WorkflowOperations: all that can be done, the one interface
    scaffold            what `init` writes
    reconcile           carry a plan out: feed and watch the machines, record
    claims, orders      queue what is to start; make a batch ready to be sent
    unwritten           prompts and jobs that no file asks for
    exports             job files of what is in the store, read back
    verify              outputs and inputs against the store
    evaluate            what was measured of videos, kept by content
    report              the page to look at a sweep, its program and its media
    importing, deleting     runs of another store come in; runs go
    adopt, consult      what machines and outputs have of runs, by whomever
    publishing          outputs to where a team publishes them, and from there
    jobfiles            job files from disk to jobs
    prune               remove runs, working files, the cache
    doctor              what a target's machines have and lack
    reproduce           the commands that make a run again
    measuring, pictures     a video beside its input; pictures to numbers
    collect             read what batches have made, bring it into outputs/
    logs                what engines say, from where it was told last
    controls            control maps for the models, computed here
    foreign             what comes from elsewhere, and whether it is sound
    errands             work on machines that leaves text in place of videos
    watches             batches in flight, and what was learnt of them
    sites               the machines of targets, ready to work
    engines             how a model is called; `preview` is a program of its own, and
                        `drivers` are run in the models' environments
    enhancers           how prompts are written in more detail
    executors           how batches are queued on a host
    store               TinyDB: atomic file, lock, transactions
    inputs, outputs     the files that a job names, and those that runs leave
    shelves             where outputs are published: on a host, in an object store
    statefiles          where the state file is kept: here, on a host, in an object store
    changes             what differs from a git ref
    digests             sha256 and footage of input files, with a stat cache
    hosts, buckets      how a machine is reached, and an object store
    protocols           every extension point on one page
    planfile            a plan as JSON
    checks              what a machine is asked, and its answers as checks
    plan                desired runs against records: what will happen, and why
    batching            pending runs to batches
    lifecycle           how a record moves between states
    estimate            how long a plan takes
    search, exporting   prompts by their words; runs as job files
    project             cosmos-jobs.yaml, frozen
    matrix              a job to prompts and runs
    upscaling           runs that work on another run's output
    asked               weights and parameters of a command, judged as in a job file
    spec                a job file's text to a JobSpec, or all its problems
    targets             what is wrong with a project file's targets
    schema              JSON Schemas, and what violates them
    identity            canonical JSON and ids
    naming              names for people: of prompts, and of videos by their settings
    metrics, ratings    which numbers of videos there are; what people think of them
    documents           records as JSON, in the store and on hosts
    faults              why a batch ended without its runs
    yamltext, ranges, prompttext    what a text means before it means a job
    model               the values that flow
    errors, files       every deliberate error; files that are whole or not there
    redaction           secrets in text, made unreadable

From `matrix` down and in `plan`, `planfile`, `batching`, `lifecycle`,
`estimate` and the engines' adapters there is no disk, network, clock or
terminal; `schema` reads its own files only.
"""

__version__ = "0.1.0"
