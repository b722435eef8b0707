"""Sweeps as a user asks for them: maps of effects, traces, paths and estimates."""

from causaltest.sweeps.sweeping import Sweeping as Sweeping
