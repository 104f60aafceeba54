"""What an epoch won on some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from goldsmith.kinds.verify.answering import BASE, Answered
from goldsmith.kinds.verify.schema import EpochReport, VerifyConfig
from goldsmith.kinds.verify.trained import Row
from goldsmith.uno.bleu import TOKENIZERS
from goldsmith.uno.verdict import Bar, Point, point, win_rate


@dataclass(frozen=True)
class Counted:
    epoch: int
    points: dict[str, Point]
    """By row."""
    ungraded: int
    """Of them, answers of which no grade could be read: they win nothing."""
    removed: bool = False
    """Whether rows with barred answers leave the number."""

    @property
    def counted(self) -> list[float]:
        return [one.points for one in self.points.values() if one.barred is None or not self.removed]

    @property
    def n(self) -> int:
        return len(self.counted)

    @property
    def won(self) -> float:
        return sum(self.counted)

    @property
    def win_rate(self) -> float:
        return win_rate(self.counted)

    def barred(self, by: Bar) -> int:
        return sum(one.barred == by for one in self.points.values())

    def report(self) -> EpochReport:
        points = self.counted
        return EpochReport(
            epoch=self.epoch,
            win_rate=self.win_rate,
            n=self.n,
            wins=points.count(1.0),
            ties=points.count(0.5),
            losses=points.count(0.0),
            barred_by_bleu=self.barred("bleu"),
            barred_by_length=self.barred("length"),
            ungraded=self.ungraded,
        )


def count(epoch: int, rows: Sequence[Row], answered: Answered, config: VerifyConfig) -> Counted:
    """Rows whose base answer could not be graded are left out, of every epoch alike: there is nothing to compare with."""
    points, ungraded = {}, 0
    for row in rows:
        base, own = answered.of(BASE)[row.key], answered.of(str(epoch))[row.key]
        if base.grade is None or base.grade.mean is None:
            continue
        score = own.grade.mean if own.grade else None
        ungraded += score is None
        points[row.key] = point(
            base.answer,
            own.answer,
            base.grade.mean,
            score,
            bleu_min=config.bleu_min,
            length_min=config.length_min,
            tokenize=TOKENIZERS[config.bleu_tokenizer],
        )
    return Counted(epoch, points, ungraded, removed=config.barred == "removed")
