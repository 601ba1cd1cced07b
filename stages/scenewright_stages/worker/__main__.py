"""``python -m scenewright_stages.worker``."""

from scenewright_stages.worker.main import main

main()
