"""The one error of the simulator."""


class SimulatorError(Exception):
    """The simulator was asked for what it cannot be: a bad option, fault, rate or address."""
