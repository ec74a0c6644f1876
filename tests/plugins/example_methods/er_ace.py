"""A strategy of Avalanche's own, as it is: ER-ACE has a training loop of its own and cannot be a plugin."""

from typing import Any

from avalanche.training.supervised.er_ace import ER_ACE
from pydantic import PositiveInt

from lorisbench import Context, Strategy


class ErAce(Strategy, name="er-ace"):
    """ER-ACE (Caccia et al. 2022, ICLR) of Avalanche 0.6.0: replay whose loss on new samples sees new classes only.

    memory: samples kept. replay_batch: samples from memory for each batch. The defaults are Avalanche's.
    """

    state_growth = "samples"
    memory: PositiveInt = 200
    replay_batch: PositiveInt = 10

    def replay_limit(self) -> int:
        return self.memory

    def build(self, context: Context) -> Any:
        arguments = context.arguments(self.wrap(context.model, context))
        return ER_ACE(**arguments, mem_size=self.memory, batch_size_mem=self.replay_batch)
