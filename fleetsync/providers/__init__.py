"""One file per kind of service. A provider imports neither configuration nor mirror nor another provider.

`base.load(kind)` finds the module by the kind's name: there is no registry.
"""
