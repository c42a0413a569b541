"""A push service that wants less than it is sent: it gets less, and the others do not wait for it."""

from tests.drill.service import Service

BATCHES_AT_ONCE, BATCH_SIZE = 2, 500
SHARE = 0.3  # of the recipients, at the push service that is throttled
WISHED_SECONDS = 3


def refusals(service: Service) -> int:
    return int(service.push_service.counts["statuses"].get("429", 0))


def test_a_push_service_that_throttles_beside_two_others(service: Service) -> None:
    push_service = service.push_service
    usual, named, throttled = push_service.hosts
    moved = service.move(int(service.recipients * SHARE), push_service.third_url)
    push_service.misbehaves(action="answer", status=429, retry_after=WISHED_SECONDS, host=throttled)
    api = service.start_api()
    service.start_worker()
    assert service.broadcast(api).status_code == 202

    service.until_accepted(service.recipients - moved)
    service.until(lambda: service.pending(usual) == service.pending(named) == 0, "the two others are through")
    waiting, refused_so_far = service.pending(throttled), refusals(service)
    service.until(lambda: refusals(service) > refused_so_far, "it was asked again, and said the same")
    refused = refusals(service)
    push_service.behaves()
    service.say(f"both others are through, {waiting:,} wait; {refused_so_far} posts were refused so far")
    service.until_finished()

    service.say(f"{refused} posts were refused until it was well again")
    assert waiting == moved, "nobody got through who was to wait"
    assert refused < BATCHES_AT_ONCE * BATCH_SIZE, "what ran when it first said so, and a few to ask again"
    result = service.account()
    assert (result.by_status, result.repeats) == ({"sent": service.recipients}, 0)
