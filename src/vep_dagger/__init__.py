"""vep-dagger: a container build language and a test-matrix runner for vLLM expert parallel."""

__version__ = "0.1.0"
