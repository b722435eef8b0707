"""Sweeps: many interventions over one pair set, exactly, with as little arithmetic as possible."""

from causaltest.engine.sweeps.beside import Beside as Beside
from causaltest.engine.sweeps.execution import Swept as Swept
from causaltest.engine.sweeps.execution import sweep as sweep
from causaltest.engine.sweeps.plan import Job as Job
from causaltest.engine.sweeps.plan import Plan as Plan
