"""Receipts: whose token is good may report, and what is reported counts once it is committed."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import OperationalError, ProgrammingError

from app.db.session import SessionFactory, transaction
from app.delivery import receipts
from app.delivery.partitions import month_of, stored_months
from app.delivery.report import Event, Report, Verdict, Written
from app.delivery.token import DeliveryKey, ExpiredToken, InvalidToken, ReceiptTokens
from app.errors import Forbidden
from app.observability import metrics
from app.receipts.schemas import ReceiptIn, ReceiptsOut, RefusedOut, RefusedReason
from app.receipts.writer import ReceiptWriter

# Retention freezes the counts of what is older, and they never change: by then nothing is on its way any more.
FROZEN_SOON = timedelta(hours=1)
LONGEST_AGO_SECONDS = 10 * 365 * 86_400.0  # farther back no delivery was planned, and PostgreSQL can still count it
DEADLOCK = "40P01"
TRIES = 3


class NoValidReceipt(Forbidden):
    code = "no-valid-receipt"
    title = "None of these receipts counts"


class Receipts:
    """Takes the reports of browsers. For one event loop, as its writer is."""

    def __init__(self, sessions: SessionFactory, tokens: ReceiptTokens, *, kept_days: int) -> None:
        self._tokens = tokens
        self._kept = timedelta(days=kept_days) - FROZEN_SOON
        self._writer = ReceiptWriter(lambda reports: record(sessions, reports))

    async def report(self, sent: Sequence[ReceiptIn]) -> ReceiptsOut:
        """Count these receipts, and return what became of each. Forged ones never reach the database.

        Raises NoValidReceipt when all are refused, TooManyReceipts and ReceiptsNotWritten.
        """
        now = datetime.now(UTC)
        refused: dict[int, RefusedReason] = {}
        reports: dict[int, Report] = {}
        for index, receipt in enumerate(sent):
            try:
                delivery = self._delivery_of(receipt.token, now)
            except ExpiredToken:
                refused[index] = "expired"
            except InvalidToken:
                refused[index] = "invalid"
            else:
                ago = min(receipt.seconds_ago, LONGEST_AGO_SECONDS)
                reports[index] = Report(delivery, receipt.event, receipt.action or None, ago)
        written = await self._writer.add(list(reports.values())) if reports else []
        verdicts = Counter(each.verdict for each in written)
        refused |= {
            index: "unknown"
            for index, each in zip(reports, written, strict=True)
            if each.verdict is Verdict.UNKNOWN
        }
        for reason in refused.values():
            metrics.receipts_refused.labels(reason=reason).inc()
        listed = [RefusedOut(index=index, reason=reason) for index, reason in sorted(refused.items())]
        if len(refused) == len(sent):
            raise NoValidReceipt(
                "Their tokens are not of this service, too old, or of deliveries that are not kept any more. Drop"
                " them: the same will never count.",
                refused=[each.model_dump() for each in listed],
            )
        return ReceiptsOut(accepted=verdicts[Verdict.ACCEPTED], repeated=verdicts[Verdict.REPEATED], refused=listed)

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()

    def _delivery_of(self, token: str, now: datetime) -> DeliveryKey:
        delivery = self._tokens.read(token, now=now)
        if delivery.planned_at + self._kept <= now:
            raise ExpiredToken("the delivery is not kept any longer")
        return delivery


def record(sessions: SessionFactory, reports: Sequence[Report]) -> list[Written]:
    """Write reports of deliveries of one month in one transaction, and count them. Raises PASSING_ERRORS."""
    written = _record(sessions, reports)
    seconds = []
    numbers: Counter[tuple[Event, Verdict]] = Counter()
    for report, each in zip(reports, written, strict=True):
        numbers[report.event, each.verdict] += 1
        if each.verdict is Verdict.ACCEPTED and report.event is Event.DISPLAYED:
            seconds.append(each.seconds_after_planning)
    for (event, verdict), number in numbers.items():
        if verdict in (Verdict.ACCEPTED, Verdict.REPEATED):
            metrics.receipts.labels(event=event.value, result=verdict.value).inc(number)
    metrics.observe_all(metrics.receipt_delay, seconds)
    return written


def _record(sessions: SessionFactory, reports: Sequence[Report]) -> list[Written]:
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction(sessions) as session:
                return receipts.write(session, reports)
        except OperationalError as error:
            if not tries_left or getattr(error.orig, "pgcode", None) != DEADLOCK:
                raise
        except ProgrammingError:
            month, _ = month_of(reports[0].delivery.planned_at)
            with transaction(sessions) as session:
                if month in stored_months(session):
                    raise
            return [Written(Verdict.UNKNOWN)] * len(reports)  # retention has dropped it as a whole
    raise AssertionError("unreachable")
