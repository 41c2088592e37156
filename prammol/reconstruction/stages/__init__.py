"""The stages of a reconstruction: one module for each step of the loop.

A stage is a frozen dataclass: its fields are its settings, its call does the work.
"""
