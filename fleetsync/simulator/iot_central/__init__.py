"""The simulated IoT Central application."""
