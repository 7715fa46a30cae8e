"""Lets torchvision's published wheels load beside a CPU build of torch.

Those wheels are CUDA builds: their operators cannot be loaded without CUDA, and `import torchvision` then stops at
`operator torchvision::nms does not exist`. The Qwen-VL processors need torchvision's transforms only, which work as
soon as the two operators are declared. vLLM inspects models in fresh processes, so every interpreter of the
environment needs this: `skinrl.cpu_install.install_hook` copies this file to site-packages beside a .pth file that
imports it. It imports nothing at start-up, and does nothing where torchvision loads by itself.
"""

import sys

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

kept: list = []  # the operator library, alive as long as the process


class TorchvisionHook:
    """An import hook that finds nothing; it acts once, just before torchvision is looked for."""

    done = False

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]  # nothing to import types from
        """Declare the operators when torchvision is about to be imported for the first time."""
        if name == "torchvision" and not self.done:
            self.done = True
            declare_operators()


def declare_operators() -> None:
    """Declare torchvision's two operators, unless torch is no CPU build or its library brings them along."""
    from importlib.machinery import PathFinder
    from pathlib import Path

    spec = PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None:
        return
    for library in sorted(Path(spec.origin).parent.glob("_C.*")):
        try:
            torch.ops.load_library(str(library))  # what torchvision itself does
        except OSError:
            continue
        return
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            declared.define(operator + SCHEMA)
    kept.append(declared)


def activate() -> None:
    """Install the hook, once."""
    if not any(type(finder).__name__ == TorchvisionHook.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionHook())
