"""The one exception that commands turn into a clear line and a non-zero exit."""


class UserError(Exception):
    """Bad input: says what was wrong, what was expected and what to do."""
