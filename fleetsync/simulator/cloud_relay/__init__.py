"""The simulated ECLYPSE Cloud Relay and the controllers behind it."""
