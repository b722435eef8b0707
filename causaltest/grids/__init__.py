"""Grids as pictures, tables and files; without torch."""

from causaltest.grids.grid import EstimatedGrid as EstimatedGrid
from causaltest.grids.grid import SweepGrid as SweepGrid
from causaltest.grids.grid import Verification as Verification
