"""The declarative API of pyvene over causaltest's engine: `import causaltest.pyvene as pv`.

The names and calls are pyvene's, so that changing the import line is the whole migration. What is
ambiguous or wrong there, and gave wrong numbers without a word, raises here or gives the right
ones.
"""

from causaltest.pyvene.bases import (
    AutoencoderIntervention as AutoencoderIntervention,
)
from causaltest.pyvene.bases import (
    BoundlessRotatedSpaceIntervention as BoundlessRotatedSpaceIntervention,
)
from causaltest.pyvene.bases import (
    JumpReLUAutoencoderIntervention as JumpReLUAutoencoderIntervention,
)
from causaltest.pyvene.bases import (
    LowRankRotatedSpaceIntervention as LowRankRotatedSpaceIntervention,
)
from causaltest.pyvene.bases import PCARotatedSpaceIntervention as PCARotatedSpaceIntervention
from causaltest.pyvene.bases import RotatedSpaceIntervention as RotatedSpaceIntervention
from causaltest.pyvene.bases import SigmoidMaskIntervention as SigmoidMaskIntervention
from causaltest.pyvene.bases import (
    SigmoidMaskRotatedSpaceIntervention as SigmoidMaskRotatedSpaceIntervention,
)
from causaltest.pyvene.causal_model import CausalModel as CausalModel
from causaltest.pyvene.config import IntervenableConfig as IntervenableConfig
from causaltest.pyvene.config import RepresentationConfig as RepresentationConfig
from causaltest.pyvene.interventions import AdditionIntervention as AdditionIntervention
from causaltest.pyvene.interventions import BasisAgnosticIntervention as BasisAgnosticIntervention
from causaltest.pyvene.interventions import CollectIntervention as CollectIntervention
from causaltest.pyvene.interventions import ConstantSourceIntervention as ConstantSourceIntervention
from causaltest.pyvene.interventions import (
    DistributedRepresentationIntervention as DistributedRepresentationIntervention,
)
from causaltest.pyvene.interventions import Intervention as Intervention
from causaltest.pyvene.interventions import InterventionOutput as InterventionOutput
from causaltest.pyvene.interventions import LambdaIntervention as LambdaIntervention
from causaltest.pyvene.interventions import (
    LocalistRepresentationIntervention as LocalistRepresentationIntervention,
)
from causaltest.pyvene.interventions import LoRAIntervention as LoRAIntervention
from causaltest.pyvene.interventions import NoiseIntervention as NoiseIntervention
from causaltest.pyvene.interventions import (
    SharedWeightsTrainableIntervention as SharedWeightsTrainableIntervention,
)
from causaltest.pyvene.interventions import SkipIntervention as SkipIntervention
from causaltest.pyvene.interventions import SourcelessIntervention as SourcelessIntervention
from causaltest.pyvene.interventions import SubtractionIntervention as SubtractionIntervention
from causaltest.pyvene.interventions import TrainableIntervention as TrainableIntervention
from causaltest.pyvene.interventions import VanillaIntervention as VanillaIntervention
from causaltest.pyvene.interventions import ZeroIntervention as ZeroIntervention
from causaltest.pyvene.model import IntervenableModel as IntervenableModel
from causaltest.pyvene.model import build_intervenable_model as build_intervenable_model
from causaltest.pyvene.outputs import IntervenableModelOutput as IntervenableModelOutput
from causaltest.pyvene.seeding import count_parameters as count_parameters
from causaltest.pyvene.seeding import set_seed as set_seed


def __getattr__(name: str) -> object:
    """Refuse a name that is not here, with what to write instead."""
    from causaltest.pyvene.elsewhere import missing

    raise missing(name, [each for each in globals() if each[0] != "_"])
