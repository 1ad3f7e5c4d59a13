"""What people see on a terminal: tables, a live view of a run, plain lines, JSON lines."""
