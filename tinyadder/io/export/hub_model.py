"""A tinyadder model for Hugging Face's classes. Needs the packages tinyadder and transformers."""

import torch
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from tinyadder.io.digest import weights_digest
from tinyadder.machine.config import Config
from tinyadder.machine.encoder import empty_model
from tinyadder.machine.transformer import Transformer


class TinyadderConfig(PreTrainedConfig):
    """`machine` is the config of the machine, `task` what it computes, both as in model.json;
    `weights` names their type and digest.
    """

    model_type = "tinyadder"

    def __init__(self, machine=None, task=None, weights=None, **settings):
        self.machine, self.task, self.weights = machine, task, weights
        super().__init__(**settings)


class TinyadderForCausalLM(PreTrainedModel, GenerationMixin):
    """Token ids [b, t] to logits [b, t, vocabulary]; tokens that are never answered have -inf.

    Rows of one length: the machine knows no padding. It runs in the precision it was saved in.
    """

    config_class = TinyadderConfig
    base_model_prefix = "machine"

    def __init__(self, config):
        super().__init__(config)
        self.machine = empty_model(Config.from_json(config.machine), config.dtype)
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        readers = [name for name in names if name.endswith(".0.shared")]
        self._tied_weights_keys = dict.fromkeys(readers, "machine.shared")
        self.post_init()

    @classmethod
    def from_pretrained(cls, folder, *arguments, **settings):
        """As ever; raises ValueError for weights that are not those of config.json (in the
        precision they were saved in; others have no digest).
        """
        loaded = super().from_pretrained(folder, *arguments, **settings)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        named = model.config.weights
        if named and named["dtype"] == _dtype(model) and named["sha256"] != _digest(model):
            raise ValueError(
                f"the weights in {folder} are not those that its config.json names (sha256 "
                f"{named['sha256'][:8]}..); get the folder again, or export it again"
            )
        return loaded

    def save_pretrained(self, *arguments, **settings):
        """As ever; config.json names the weights of now, trained on or not."""
        self.config.weights = {"dtype": _dtype(self), "sha256": _digest(self)}
        return super().save_pretrained(*arguments, **settings)

    def _init_weights(self, module):
        """Ids of outputs and places of ties are no weights: loading loses them, they come again."""
        if isinstance(module, Transformer):
            with torch.device("cpu"):
                fresh = empty_model(module.config, self.config.dtype)
            buffers = dict(module.named_buffers())
            for name, value in fresh.named_buffers():
                if name not in module.state_dict():
                    buffers[name].copy_(value)

    def forward(self, input_ids, attention_mask=None, labels=None, **_):
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError("this model knows no padding; give rows of one length")
        scores = self.machine(input_ids)
        logits = scores.new_full((*scores.shape[:2], self.config.vocab_size), -torch.inf)
        logits[:, :, self.machine.outputs] = scores
        loss = None
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])
        return CausalLMOutput(loss=loss, logits=logits)


def _dtype(model):
    return str(model.machine.embedding.dtype).removeprefix("torch.")


def _digest(model):
    return weights_digest(model.machine)
