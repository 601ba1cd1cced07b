"""``python -m scenewright_stages.worker``."""

from scenewright_stages.worker.process.main import main

main()
