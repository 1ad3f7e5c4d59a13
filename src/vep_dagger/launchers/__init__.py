"""Places to run a deployment: one file a place, behind the protocol in :mod:`.base`."""
