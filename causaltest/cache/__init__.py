"""The result cache: what was measured is not run again as long as nothing that matters changed."""

from causaltest.cache.recall import Recall as Recall
from causaltest.cache.recall import Recalled as Recalled
from causaltest.cache.store import Cache as Cache
