import socket
import threading
from collections.abc import Callable, Sequence

import pytest

from app.push.address import AddressNotPublic, CheckedAddress
from app.push.curl_addresses import AddressBook, Known
from tests.support.waiting import until

WAIT_SECONDS = 60.0
Answers = Callable[[str, int], Sequence[CheckedAddress]]


class Asker:
    """An address book, and somebody who waits for its news."""

    def __init__(self, answers: Answers) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._news = threading.Condition()
        self._news_count = 0
        self.book = AddressBook(self._resolve, on_news=self._hear)

    def find(self, host: str, *, now: float) -> Known | None:
        return self.book.find(host, 443, now=now)

    def find_at_last(self, host: str, *, now: float) -> Known:
        with self._news:
            heard = self._news_count
            known = self.book.find(host, 443, now=now)
            if known is None:
                assert self._news.wait_for(lambda: self._news_count > heard, WAIT_SECONDS)
                known = self.book.find(host, 443, now=now)
        assert known is not None
        return known

    def wait_for_news(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._news_count >= count, WAIT_SECONDS)

    def _resolve(self, host: str, port: int) -> Sequence[CheckedAddress]:
        self.asked.append(host)
        return self._answers(host, port)

    def _hear(self) -> None:
        with self._news:
            self._news_count += 1
            self._news.notify_all()


def two_addresses(host: str, port: int) -> Sequence[CheckedAddress]:
    return [CheckedAddress(host, port, "192.0.2.1"), CheckedAddress(host, port, "2001:db8::1")]


def test_a_name_is_looked_up_once_and_told_in_libcurls_words() -> None:
    asker = Asker(two_addresses)

    known = asker.find_at_last("push.example.net", now=0.0)
    again = asker.find("push.example.net", now=1.0)

    assert known.for_libcurl == ["+push.example.net:443:192.0.2.1,[2001:db8::1]"]
    assert again is known
    assert asker.asked == ["push.example.net"]


def test_only_what_was_checked_may_be_connected_to() -> None:
    asker = Asker(two_addresses)

    asker.find_at_last("push.example.net", now=0.0)

    assert asker.book.is_checked("192.0.2.1", 443)
    assert asker.book.is_checked("2001:db8::1", 443)
    assert not asker.book.is_checked("192.0.2.1", 80)
    assert not asker.book.is_checked("192.0.2.2", 443)


@pytest.mark.parametrize("error", [AddressNotPublic("x"), socket.gaierror("x"), UnicodeError("x")])
def test_a_failed_look_up_is_told_and_tried_again_soon(error: Exception) -> None:
    def answers(host: str, port: int) -> Sequence[CheckedAddress]:
        if len(asker.asked) == 1:
            raise error
        return two_addresses(host, port)

    asker = Asker(answers)

    first = asker.find_at_last("push.example.net", now=0.0)
    second = asker.find_at_last("push.example.net", now=first.good_until + 1)

    assert first.failure is error
    assert second.failure is None


@pytest.mark.parametrize(("error", "keeps"), [(socket.gaierror("x"), True), (AddressNotPublic("x"), False)])
def test_known_addresses_outlive_a_resolver_that_is_away_but_not_a_bad_answer(
    error: Exception, keeps: bool
) -> None:
    def answers(host: str, port: int) -> Sequence[CheckedAddress]:
        if len(asker.asked) > 1:
            raise error
        return two_addresses(host, port)

    asker = Asker(answers)
    first = asker.find_at_last("push.example.net", now=0.0)

    meanwhile = asker.find("push.example.net", now=first.fresh_until + 1)
    asker.wait_for_news(2)
    afterwards = asker.find("push.example.net", now=0.0)

    assert meanwhile is first
    assert afterwards is not None
    assert (afterwards.failure is None) is keeps


def test_addresses_are_not_believed_for_ever() -> None:
    asker = Asker(two_addresses)
    first = asker.find_at_last("push.example.net", now=0.0)

    late = asker.find("push.example.net", now=first.good_until + 1)
    asker.wait_for_news(2)

    assert late is None
    assert asker.find("push.example.net", now=0.0) is not first
    assert len(asker.asked) == 2


@pytest.mark.parametrize("count", [1, 16, 40])
def test_names_whose_look_ups_hang_hold_up_no_other(count: int) -> None:
    over = threading.Event()

    def answers(host: str, port: int) -> Sequence[CheckedAddress]:
        if host.startswith("slow"):
            assert over.wait(WAIT_SECONDS)
        return two_addresses(host, port)

    asker = Asker(answers)

    slow = [asker.find(f"slow-{number}.example.net", now=0.0) for number in range(count)]
    until(lambda: asker.find("quick.example.net", now=0.0), "the other name is known")
    asked = list(asker.asked)
    over.set()
    asker.wait_for_news(count + 1)

    assert slow == [None] * count
    assert asked.count("quick.example.net") == 1
    assert len(asker.asked) == len(set(asker.asked)) == count + 1


def test_a_system_without_threads_to_spare_delays_a_look_up_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asker = Asker(two_addresses)

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        early = [asker.find("push.example.net", now=0.0) for _ in range(100)]
    late = asker.find_at_last("push.example.net", now=0.0)

    assert early == [None] * 100
    assert late.failure is None
    assert asker.asked == ["push.example.net"]
