"""Gymnasium environments for surefoot, and surefoot's environments for Gymnasium, in lockstep over zenoh."""

from .client import SurefootEnv
from .errors import EnvLost, Refused, Unsupported

__version__ = "0.1.0"
__all__ = ["EnvLost", "Refused", "SurefootEnv", "Unsupported", "__version__"]
