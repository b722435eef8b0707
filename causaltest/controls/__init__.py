"""Controls: what else an effect could be due to, measured in the same way."""

from causaltest.controls.measuring import Controlled as Controlled
from causaltest.controls.origins import CircuitOrigin as CircuitOrigin
from causaltest.controls.origins import Origin as Origin
from causaltest.controls.placebos import Vary as Vary
from causaltest.controls.twins import Weights as Weights
from causaltest.controls.twins import twin as twin
