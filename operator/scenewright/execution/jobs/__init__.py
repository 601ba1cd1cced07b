"""Pure builders of the Jobs that carry out a plan in a cluster: one Indexed Job for each step."""

from scenewright.execution.jobs.job import Creation, Owner, job_manifest
from scenewright.execution.jobs.names import job_name, output_place
from scenewright.execution.jobs.settings import PodSettings

__all__ = ["Creation", "Owner", "PodSettings", "job_manifest", "job_name", "output_place"]
