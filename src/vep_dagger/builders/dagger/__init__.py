"""Images by Dagger: branches, awaited together."""
