"""The verbs of the command line.

Each module has a docstring (its help), ``EXAMPLES``, ``add_options(parser)`` and
``run(options)``, or ``run(options, comm)`` if all ranks take part. They import what
they need when they run.
"""
