"""The process inside a stage Pod, and every local stage process: ``python -m scenewright_stages.worker``.

Its task comes in ``SCENEWRIGHT_TASK`` (:class:`~scenewright_stages.contract.task.Task` as JSON), its shard in
``JOB_COMPLETION_INDEX``. Further variables, all optional:

``SCENEWRIGHT_REPORT_DIR``       folder that gets ``<step>.report.json`` of every step, and ``plan.json`` of the index
``SCENEWRIGHT_TERMINATION_LOG``  file that gets the last report (``/dev/termination-log`` where that exists)
``SCENEWRIGHT_PROGRESS_FILE``    JSON with absolute counters, replaced at most twice a second
``SCENEWRIGHT_GRACE_SECONDS``    from SIGTERM to the exit at the latest (25)
``SCENEWRIGHT_HANG_SECONDS``     after which a process ends in which foreign code lets no Python code run (600)
``SCENEWRIGHT_PARENT_FD``        read end of a pipe that closes when the parent dies
``SCENEWRIGHT_HOLDER_PID``       process whose life keeps the output's lock valid on this host (this process)
``SCENEWRIGHT_POD``              uid of the Pod: the attempt's name in record and log files (with a random suffix)
``SCENEWRIGHT_SCRATCH``          folder for copies and workspaces (the temporary folder)
``SCENEWRIGHT_GPUS``             how many GPUs the process holds: their busy and waiting seconds are measured (0)
``SCENEWRIGHT_PROGRESS_URL``     endpoint that gets the counters every 2 s, with the token in the file
``SCENEWRIGHT_PROGRESS_TOKEN``   (read again for every push)
``SCENEWRIGHT_KERNEL_CACHE``     the image's compiled CPU kernels, copied to a new ``NUMBA_CACHE_DIR``
``SCENEWRIGHT_STORAGE_PATIENCE`` seconds for which storage that does not answer is waited for (0)
``SCENEWRIGHT_MODEL_SOURCE``     where the models step takes weights from: a mirror of the Hub, file:///... or s3://...

Exit codes are those of :class:`~scenewright_stages.contract.errors.ExitCode`. Where to read on: `process/main` (steps
and ends), `index/step` (which samples there are, and what runs), `states` (what is up to date), `stage/step` (how it
runs), `publish/step` (what is shown and what is deleted). ``docs/how-it-works.md`` shows the way of one sample.
"""
