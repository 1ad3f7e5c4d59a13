"""Sources: fetched and verified on this machine, the same for every engine."""
