"""Whether a W&B run is online, offline or disabled."""

import netrc
import os
import urllib.error
import urllib.parse
import urllib.request

from longtail.errors import warn

MODES = ("auto", "online", "offline", "disabled")
ALIASES = {"": "auto", "dryrun": "offline", "run": "online"}  # of the variable WANDB_MODE


def check_mode(mode: str) -> str:
    """Return the mode asked for: the setting or, where that is auto, the variable WANDB_MODE.

    Raises:
        ValueError: The mode is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode}: must be one of {', '.join(MODES[:-1])} (logger=none for no W&B)")
    if mode != "auto":
        return mode
    variable = os.environ.get("WANDB_MODE", "")
    mode = ALIASES.get(variable, variable)
    if mode not in MODES:
        raise ValueError(f"WANDB_MODE={variable}: must be one of {', '.join(MODES[1:])}, or unset")
    return mode


def choose_mode(mode: str, url: str, timeout: float = 5) -> str:
    """Choose between online and offline, so that W&B neither asks for an API key nor waits for a server.

    Args:
        mode: auto or online. Both are offline without a key; auto is also offline if the server does not answer.
        url: The server's address.
        timeout: Seconds to wait for the server.
    """
    if not _has_key(urllib.parse.urlsplit(url).hostname or ""):
        if mode == "online":
            warn("logger.mode=online: there is no API key (see `wandb login`), W&B is offline instead")
        return "offline"
    if mode == "online":
        return "online"
    try:
        urllib.request.urlopen(url, timeout=timeout).close()
    except urllib.error.HTTPError:
        return "online"
    except (OSError, ValueError):
        return "offline"
    return "online"


def server_url() -> str:
    """Return the address of the W&B server that this user's runs go to."""
    import wandb

    return str(wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url)


def _has_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
