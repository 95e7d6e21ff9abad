"""What a stranger may send: every parser of ours gets bytes, and must answer with a value or one of our errors.

`targets` names them; each takes bytes and fails as a test does. `corpus` has what the services really answer. The tests
let Hypothesis bend that; where atheris is installed it searches by coverage, as long as one likes:

    python -m tests.fuzz pages --seconds 600
"""
