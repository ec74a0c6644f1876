"""DNN's heads, chosen as Expert Gate chooses its experts: by the autoencoder that reconstructs the features best."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt

from lorisbench.engine.strategy import Context
from lorisbench.strategies.dnn.domains import Gate
from lorisbench.strategies.dnn.strategy import DynamicHeads
from lorisbench.strategies.parts.fitting import minimise


class LeastError(Gate):
    """The domain whose autoencoder has the least squared error on the standardised features' sigmoid.

    Buffers
    -------
    mean, std : float32 (F,), of the first domain's features. encoder (D, F, hidden), encoder_bias (D, hidden), decoder
    (D, hidden, F), decoder_bias (D, F) : float32, of z -> sigmoid(decoder' relu(encoder' z)).
    """

    mean: torch.Tensor
    std: torch.Tensor
    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    decoder_bias: torch.Tensor

    def __init__(self, hidden: int, epochs: int, lr: float, seed: int) -> None:
        super().__init__(
            seed, mean=(0,), std=(0,), encoder=(0, 0, hidden), encoder_bias=(0, hidden), decoder=(0, hidden, 0),
            decoder_bias=(0, 0),
        )  # fmt: skip
        self.hidden, self.epochs, self.lr = hidden, epochs, lr

    def prepared(self, features: torch.Tensor) -> torch.Tensor:
        """What the autoencoders see, in 0..1: the same for all, so that their errors can be compared."""
        return ((features - self.mean) / self.std).sigmoid()

    def learn(self, x: torch.Tensor, generator: torch.Generator) -> None:
        if not self.domains:
            std = x.std(dim=0, correction=0)
            # A feature that hardly varies now may vary a lot later
            self.mean, self.std = x.mean(dim=0), std.clamp(min=max(float(std.mean()), 1e-6) / 10)
        z, width = self.prepared(x), x.shape[1]

        def drawn(*shape: int) -> torch.Tensor:  # as torch draws those of a linear layer of shape[0] inputs
            return ((2 * torch.rand(shape, generator=generator) - 1) / shape[0] ** 0.5).to(x.device)

        layers = [drawn(width, self.hidden), drawn(width, self.hidden)[0], drawn(self.hidden, width)]
        layers.append(drawn(self.hidden, width)[0])
        minimise(
            layers,
            lambda rows: errors(z[rows], *layers),
            len(z),
            generator,
            epochs=self.epochs,
            lr=self.lr,
        )
        for name, layer in zip(("encoder", "encoder_bias", "decoder", "decoder_bias"), layers, strict=True):
            self.append(name, layer)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        z = self.prepared(features)
        parts = zip(self.encoder, self.encoder_bias, self.decoder, self.decoder_bias, strict=True)
        return -torch.stack([errors(z, *layers) for layers in parts], dim=1)


def errors(
    z: torch.Tensor,
    encoder: torch.Tensor,
    encoder_bias: torch.Tensor,
    decoder: torch.Tensor,
    decoder_bias: torch.Tensor,
) -> torch.Tensor:
    """The squared error of an autoencoder on each sample: z (batch, F) -> (batch,)."""
    code = (z @ encoder + encoder_bias).relu()
    return ((code @ decoder + decoder_bias).sigmoid() - z).square().sum(dim=1)


class ExpertGate(DynamicHeads, name="dnn-expert-gate"):
    """DNN's heads, of which an autoencoder for each experience chooses (Expert Gate: Aljundi et al. 2017, CVPR).

    arXiv 1611.06194, section 3.1: one hidden ReLU layer and a sigmoid at the end, on features that are standardised in
    the same way for all and passed through a sigmoid; the autoencoder with the least error says whose head answers.
    The paper standardises with statistics of ImageNet, here those of the first experience; its experts are whole
    networks and come with a measure of relatedness, here heads are made and trained as those of `dnn`, with the same
    settings.

    hidden: width of the code, 100 in the paper. epochs, lr: of its training by Adam (our choice).
    """

    hidden: PositiveInt = 100
    epochs: PositiveInt = 30
    lr: PositiveFloat = 0.001

    def router(self, context: Context) -> LeastError:
        return LeastError(self.hidden, self.epochs, self.lr, context.seed)
