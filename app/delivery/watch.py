"""Watching a lane while a batch of it runs: pauses it when its push service wants that, and lets it go on."""

import time
from collections import Counter
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy.orm import Session

from app.delivery import refusals, service_states
from app.delivery.claim import Work
from app.delivery.pace import Condition, Pause, Tally, decide, is_throttled
from app.delivery.recipients import Answered, Recipient
from app.delivery.refusals import Count
from app.delivery.traffic import Traffic
from app.observability import metrics
from app.push.outcome import Outcome, Verdict

SHORTEST_MEASURED_SECONDS = 0.1

_ACCEPTED = Verdict.ACCEPTED  # looked up for every delivery, a member of an enumeration costs ten times as much

log = structlog.get_logger(__name__)


class LaneWatch:
    """One for each batch that runs. `write` is the last thing in a transaction, `committed` comes after it.

    `is_refused`: the lane refused our credentials when the batch was claimed, and has accepted nothing since.
    """

    def __init__(self, work: Work, traffic: Traffic) -> None:
        self._lane = work.lane
        self._condition = work.condition
        self._traffic = traffic
        self._began_at = time.monotonic()
        self._answered = 0
        self._outcomes: Sequence[Outcome] = ()
        self._tally = Tally()
        self._throttled: Collection[str] = ()
        self._pause: Pause | None = None
        self._is_well_again = False
        self._counted = Count()
        self._is_our_fault = False
        self._has_asked = False
        self.is_refused = self._condition.is_refused

    def judge(
        self, session: Session, answered: Sequence[Answered], refused: Sequence[Recipient]
    ) -> Collection[str]:
        """Return the subscriptions whose refusal is our fault, to be put off. Comes before anything is written.

        `refused` are the established among them. With none, and no window open, it costs no statement.
        """
        lane, condition = self._lane, self._condition
        must_count = bool(refused) or condition.window_since is not None
        self._counted = refusals.count(answered, refused, condition) if must_count else Count()
        self._is_our_fault = False
        if refused:
            counted = refusals.window(session, lane) + self._counted
            self._is_our_fault = condition.is_refused or counted.is_our_fault
        is_accepted = condition.is_refused and any(outcome.verdict is _ACCEPTED for _, outcome in answered)
        self.is_refused = condition.is_refused and not is_accepted
        return {recipient.subscription_id for recipient in refused} if self._is_our_fault else ()

    def write(self, session: Session, answered: Sequence[Answered]) -> None:
        """Note what these answers mean for the lane. For a healthy one that costs no statement."""
        self._outcomes = [outcome for _, outcome in answered]
        tally, carried = Tally.of(self._outcomes), Tally()
        self._throttled = ()
        if not tally.accepted:
            carried, before = self._traffic.carried(self._lane), self._traffic.throttled(self._lane)
            refused = {who.subscription_id for who, outcome in answered if is_throttled(outcome)}
            self._throttled = refused - before
            if refused & before:
                # Who was refused before is limited himself, perhaps: said again, it counts no more.
                tally = Tally.of([outcome for who, outcome in answered if who.subscription_id not in before])
        self._tally = tally
        self._pause = decide(tally + carried, self._condition, rate=self._rate(tally))
        if self._counted.tried or self._counted.refused:
            self._is_our_fault |= refusals.add(session, self._lane, self._counted).is_our_fault
        if self._is_our_fault:
            self._pause = refusals.PAUSE
        self._is_well_again = False
        if self._pause is not None:
            service_states.pause(session, self._lane, self._pause)
        elif self._condition.is_probe and tally.is_healthy:
            self._is_well_again = service_states.recover(session, self._lane)
        elif self._condition.is_refused and not self._has_asked:
            service_states.end_probe(session, self._lane)

    def committed(self) -> None:
        """Tell this process, its metrics and the log what was written."""
        self._has_asked = True
        self._answered += self._tally.answered
        host = self._lane.endpoint_host
        service = metrics.service_label(host)
        _measure(service, self._outcomes)
        if self._pause is None:
            self._traffic.saw(self._lane, self._tally, self._throttled)
        elif self._traffic.pause(self._lane, self._pause.seconds):
            reason = self._pause.reason.value
            metrics.service_pauses.labels(service=service, reason=reason).inc()
            log.warning(
                "push service paused", service_host=host, reason=reason, seconds=round(self._pause.seconds, 1)
            )
        if self._is_well_again:
            self._condition = Condition(0, self._condition.slowed_to)
            self._traffic.resume(self._lane)
            log.info("push service answers again", service_host=host)

    def _rate(self, tally: Tally) -> float:
        """Return how fast this process goes in the lane, in answers a second."""
        seconds = max(SHORTEST_MEASURED_SECONDS, time.monotonic() - self._began_at)
        return (self._answered + tally.answered) / seconds * max(1, self._traffic.batches_in(self._lane))


def _measure(service: str, outcomes: Sequence[Outcome]) -> None:
    counts: Counter[Verdict] = Counter(outcome.verdict for outcome in outcomes if outcome.verdict is not _ACCEPTED)
    counts[_ACCEPTED] = len(outcomes) - counts.total()
    for verdict, count in counts.items():
        metrics.deliveries.labels(service=service, verdict=verdict.value).inc(count)
    durations = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    metrics.observe_all(metrics.push_request_duration.labels(service=service), durations)
