"""The worker process, ``python -m scenewright_stages.worker``: runs in every stage Pod and for every local stage.

It gets its task from ``SCENEWRIGHT_TASK`` (:class:`~scenewright_stages.contract.task.Task` as JSON) and its shard from
``JOB_COMPLETION_INDEX``. Further variables, all optional:

``SCENEWRIGHT_REPORT_DIR``       folder that gets ``<step>.report.json`` of every step, and ``plan.json`` of the index
``SCENEWRIGHT_TERMINATION_LOG``  file that gets the last report (``/dev/termination-log`` where that exists)
``SCENEWRIGHT_PROGRESS_FILE``    JSON with absolute counters, replaced at most twice a second
``SCENEWRIGHT_GRACE_SECONDS``    longest time from SIGTERM to the exit (25)
``SCENEWRIGHT_HANG_SECONDS``     how long foreign code may block all Python code before the process is ended (600)
``SCENEWRIGHT_PARENT_FD``        read end of a pipe that closes when the parent dies
``SCENEWRIGHT_HOLDER_PID``       process whose life keeps the output's lock valid on this host (this process)
``SCENEWRIGHT_POD``              uid of the Pod: the attempt's name in record and log files (with a random suffix)
``SCENEWRIGHT_SCRATCH``          folder for copies and workspaces (the temporary folder)
``SCENEWRIGHT_GPUS``             number of GPUs the process holds, for its counts of busy and waiting seconds (0)
``SCENEWRIGHT_PROGRESS_URL``     endpoint that gets the counters every 2 s, with the token in the file
``SCENEWRIGHT_PROGRESS_TOKEN``   (read again for every push)
``SCENEWRIGHT_KERNEL_CACHE``     the image's compiled CPU kernels, copied to a new ``NUMBA_CACHE_DIR``
``SCENEWRIGHT_STORAGE_PATIENCE`` how many seconds to retry while the storage is unreachable (0)
``SCENEWRIGHT_MODEL_SOURCE``     where the models step takes weights from: a mirror of the Hub, file:///... or s3://...

Exit codes are those of :class:`~scenewright_stages.contract.errors.ExitCode`. Where to start reading: `process/main`
(runs the steps), `index/step` (lists samples and decides what runs), `states` (what is up to date), `stage/step` (runs
samples), `publish/step` (publishes and cleans up). ``docs/how-it-works.md`` follows one sample through all of them.
"""
