"""Which transfers have been waited for long enough: libcurl has no limits for the parts of an answer."""

from collections.abc import Iterable

from app.push.curl_transfer import Transfer
from app.push.sender import Timeouts


class Patience:
    """The timeouts of a sender, for looking at all transfers now and then."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._least_seconds = min(timeouts.read_seconds, timeouts.answer_seconds, timeouts.body_seconds)
        self.look_every_seconds = min(max(self._least_seconds / 5, 0.02), 0.25)

    def late_ones(self, transfers: Iterable[Transfer], *, now: float) -> list[Transfer]:
        """Return those that are late, of transfers in the order in which they began."""
        late = []
        for transfer in transfers:
            if now - transfer.began_at < self._least_seconds:
                break
            if self._is_late(transfer, now):
                late.append(transfer)
        return late

    def _is_late(self, transfer: Transfer, now: float) -> bool:
        if transfer.has_answered:
            transfer.head_seen_at = transfer.head_seen_at or now
            return now - transfer.head_seen_at >= self._timeouts.body_seconds
        sent_at = transfer.sent_at
        allowed_seconds = self._timeouts.answer_seconds
        if not transfer.has_begun_to_answer:
            allowed_seconds = min(allowed_seconds, self._timeouts.read_seconds)
        return sent_at is not None and now - sent_at >= allowed_seconds
