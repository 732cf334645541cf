"""What may go wrong, as types."""


class LockstepError(Exception):
    """A link that cannot be used."""


class EnvLost(LockstepError):
    """The process that the worlds live in is gone or silent. The episode is lost; `reset` begins anew."""


class Refused(LockstepError):
    """The other side does not do what was asked; the message is its sentence."""


class Unsupported(LockstepError):
    """An environment that cannot be served; the message says why."""


class Malformed(LockstepError):
    """Bytes that are no message of the protocol."""
