"""fleetsync mirrors Azure device fleets into local SQL and applies declared desired state.

Data flows one way: config, sources, mirror, plan, apply. Imports point the other way; the layers are
checked by import-linter (pyproject.toml).
"""

__version__ = "0.1.0"
