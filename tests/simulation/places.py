"""Every kind of place that there is. A new kind is one line here and one file beside it."""

from tests.simulation.place import Place
from tests.simulation.place_arm import Catalogs, Hubs
from tests.simulation.place_central import Central
from tests.simulation.place_hub import Hub
from tests.simulation.place_relay import Relay
from tests.simulation.place_sphere import Sphere

KINDS: tuple[type[Place], ...] = (Central, Hub, Sphere, Catalogs, Hubs, Relay)
