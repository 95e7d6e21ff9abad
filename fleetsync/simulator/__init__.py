"""The built-in cloud: services that behave like the real ones, for the demo and the tests.

What it guarantees:

- A service is a function from a request to an answer. It reads no clock but the one it is given, draws no number
  but from the seed, and touches no file or socket; the network, where it is wanted, is one thin layer on top.
- It imports nothing of the rest of the project and shares no code with it, so that the two cannot agree on the
  same mistake. Where the documents are silent it takes the stricter side and counts what it saw.
- It keeps books: every request, every write with the guard it carried, and the clients' pace by a sum of its own.

It guards nothing: its secrets follow from the seed.
"""

from fleetsync.simulator.cloud import Cloud
from fleetsync.simulator.cloud_relay.service import Shares
from fleetsync.simulator.counters import CounterSnapshot, LogLine, WriteRecord
from fleetsync.simulator.errors import SimulatorError
from fleetsync.simulator.faults import Fault, parse_faults
from fleetsync.simulator.options import KINDS, Credentials, Options
from fleetsync.simulator.wire import SimRequest, SimResponse

__all__ = [
    "KINDS",
    "Cloud",
    "CounterSnapshot",
    "Credentials",
    "Fault",
    "LogLine",
    "Options",
    "Shares",
    "SimRequest",
    "SimResponse",
    "SimulatorError",
    "WriteRecord",
    "parse_faults",
]
