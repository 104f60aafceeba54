"""What the latest day alone says. A regression that begins among devices that are known for long is drowned by what they did before,
and a device that was in the arm at an earlier step of the ramp is in no comparison at all.

The latest day is a comparison of its own: every unit that was met on it went to the arm with the chance that the present step gives,
wherever it had been before. So its stake, taken alone, is an e-process as in `goldsmith.abstats.difference`, and there is one for each
day and step. Together they have a fifth of the guardrail's alpha, the k-th of them 1 / (k (k + 1)) of that, and what is known of all
days at once has the rest.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from goldsmith.ab_analysis import Data

WHOLE = 0.8
"""Of alpha for all days at once. It costs a regression at the start of an experiment some two attempts of the bad arm's in sixty."""
EFFECT, LARGEST = 0.3, 0.8
"""A day has few devices, and what is slight may wait for all days together: bets for 30 points, and bold ones. With the guardrail's own, a
rise from 2 to 30 % at 10/90 among 200 devices known for 8 days took 236 attempts of the arm, with these 43; without a day's test, 310."""
OF_A_DAY = ("attempts", "blocks", "interceptions", "errors", "slow")


def latest(data: Data) -> tuple[Data, float] | None:
    """The data of the latest day at the present step, and the log of its share of alpha. None on the first day, which says nothing new."""
    units = data.units
    counted = units.exposed & (units.last_day > 0)
    here = counted & (units.step == data.experiment.step)
    if not here.any():
        return None
    today = int(units.last_day[here].max())
    number = today - int(units.first_day[counted].min()) + data.experiment.step
    if number < 1:
        return None
    rows = here & (units.last_day == today)
    chosen = {field.name: getattr(units, field.name)[rows] for field in fields(units)}
    chosen |= {name: chosen[f"last_{name}"] for name in OF_A_DAY}
    chosen |= {"known": np.zeros(rows.sum(), dtype=bool), "former_step": np.full(rows.sum(), -1)}
    return replace(data, units=replace(units, **chosen)), math.log((1 - WHOLE) / (number * (number + 1)))
