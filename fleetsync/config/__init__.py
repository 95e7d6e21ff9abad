"""EDGE: the configuration file, the declarations, and the credentials they name.

Everything that is wrong is said at once, each with file, line and what to do; nothing is guessed.
"""
