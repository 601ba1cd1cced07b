"""Where things lie inside the container; everything else of its file system is read-only."""

from __future__ import annotations

SCRATCH = "/scratch"
TEMPORARY = "/tmp"  # A part of the scratch volume, for libraries that know no other place
SHARED_MEMORY = "/dev/shm"
MODELS = "/models"
COMPILED = "/compiled"
COMPILED_IN_CLAIM = "compile"
TOKEN_FOLDER = "/var/run/secrets/scenewright/progress"
TOKEN = f"{TOKEN_FOLDER}/token"
