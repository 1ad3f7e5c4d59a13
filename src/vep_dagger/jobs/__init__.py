"""Jobs: the scheduler, and the three kinds of job. They know builders and launchers only by their protocols."""
