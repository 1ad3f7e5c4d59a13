"""One cell's server in the foreground, for people: started, watched, and stopped by Ctrl-C."""
