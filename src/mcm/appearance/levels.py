"""Choice of the feature levels that a backbone hands to the critic."""

from __future__ import annotations

from collections.abc import Sequence

from mcm.errors import UserError


def select_levels(
    levels: Sequence[int] | None, default: Sequence[int], count: int, backbone: str
) -> tuple[int, ...]:
    """Return the levels to tap, checked to lie in ``0..count-1``, distinct and ascending.

    Args:
        levels: The user's choice, or ``None`` for ``default``.
        default: The backbone's own choice.
        count: How many levels the backbone has.
        backbone: Its name, for the message.

    Raises:
        UserError: If a level does not exist, is repeated or is out of order.
    """
    chosen = tuple(default if levels is None else levels)
    valid = bool(chosen) and chosen == tuple(sorted(set(chosen)))
    if not valid or chosen[0] < 0 or chosen[-1] >= count:
        raise UserError(
            f"critic.levels: {list(chosen)} does not fit the backbone '{backbone}'; "
            f"give ascending, distinct numbers from 0 to {count - 1}, "
            f"or leave the field out for the default."
        )
    return chosen
