"""Builds the Jobs that run a plan in a cluster, one Indexed Job per step. Pure functions without I/O."""

from scenewright.execution.jobs.job import job_manifest
from scenewright.execution.jobs.names import job_name, output_place
from scenewright.execution.jobs.request import CreateJob, Owner
from scenewright.execution.jobs.settings import PodSettings

__all__ = ["CreateJob", "Owner", "PodSettings", "job_manifest", "job_name", "output_place"]
