"""From cells to layers, images, deployments and jobs. Pure functions of the files."""

from vep_dagger.plan.deployment import Deployment
from vep_dagger.plan.job import Job
from vep_dagger.plan.plan import Plan, PlannedCell
from vep_dagger.plan.planner import load_plan, make_plan

__all__ = ["Deployment", "Job", "Plan", "PlannedCell", "load_plan", "make_plan"]
