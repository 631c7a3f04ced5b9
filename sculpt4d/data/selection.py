"""Which objects are worth preparing."""


class Unsuitable(ValueError):
    """An object that is left out for what it is, not for an error."""
