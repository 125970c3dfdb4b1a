"""What to say to a name that nothing goes by."""

import difflib
from collections.abc import Iterable


def unknown_name_error(argument: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not known.

    Args:
        argument: str. The argument that the name was given for.
        name: str. What was given.
        known: the names that there are, in the order to list them.

    Returns:
        `ValueError` to raise; it proposes the nearest name, if one is near.
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(
        f"`{argument}` must be one of {known}. Received: {argument}={name!r}.{hint}"
    )
