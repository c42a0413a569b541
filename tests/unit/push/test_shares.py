from app.push.shares import Shares


def take_all(shares: Shares, host: str) -> int:
    count = 0
    while shares.take(host):
        count += 1
    return count


def test_a_host_takes_its_share_and_no_more_until_it_gives_back() -> None:
    shares = Shares(per_host=3, crowded=100, small=1)

    first = take_all(shares, "a")
    shares.give_back("a")

    assert first == 3
    assert take_all(shares, "a") == 1


def test_when_it_is_crowded_a_newcomer_has_a_small_share_all_the_same() -> None:
    shares = Shares(per_host=4, crowded=8, small=2)

    taken = [take_all(shares, host) for host in "abcde"]

    assert taken == [4, 4, 2, 2, 2]


def test_when_it_is_no_longer_crowded_everyone_has_a_whole_share_again() -> None:
    shares = Shares(per_host=4, crowded=8, small=2)
    for host in "abc":
        take_all(shares, host)

    for _ in range(4):
        shares.give_back("a")

    assert take_all(shares, "c") == 2
