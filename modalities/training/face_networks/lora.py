"""Low-rank adapters (LoRA, arXiv 2106.09685) in the linear maps of CLIP's image tower, by the library peft.

peft has no bottleneck adapters beside attention over time, so FineCLIPER's are modules of its own; attention's joint matrix of
queries, keys and values is a parameter and no module, so that LoRA goes into its output and into the MLPs.
"""

from torch import nn

from data.errors import InputError
from modalities.face_networks.parts.base import FaceNetwork
from modalities.face_networks.parts.clip_tower import ImageTower
from modalities.loading.with_input import replace_module

TARGETS = ("out_proj", "c_fc", "c_proj")


def add_lora(network: FaceNetwork, rank: int) -> None:
    """Put adapters of this rank into the network's image tower and freeze what else the tower has; the rest stays as it is.

    InputError when the network has no image tower of CLIP that is trained, or peft is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError(
            f"Low-rank adapters need peft ({error}); install it with: pip install peft, or leave --lora out."
        ) from error
    towers = [name for name, module in network.named_modules() if isinstance(module, ImageTower)]
    inside = tuple(f"{name}." for name in towers)
    targets = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name.startswith(inside)
               and name.rpartition(".")[2] in TARGETS]  # fmt: skip
    if not towers or not targets:
        raise InputError("Low-rank adapters go into CLIP's image tower; this network has none: leave --lora out.")
    trained = {name for name, value in network.named_parameters() if value.requires_grad and not name.startswith(inside)}
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), network)
    for name, value in network.named_parameters():
        value.requires_grad_(name in trained or ".lora_" in name)


def merge_lora(network: FaceNetwork) -> None:
    """Add the adapters to the weights they stand beside: the network has its own names again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in network.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge()
        replace_module(network, name, module.get_base_layer())
