"""Again and again: every source at its interval, until SIGTERM."""
