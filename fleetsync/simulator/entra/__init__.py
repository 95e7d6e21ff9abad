"""The simulated sign-in."""
