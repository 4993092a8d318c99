from egress.connections import MOST, MOST_OF_ONE_ADDRESS, Connections

AGENT = "172.18.0.3"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def full(connections: Connections[str]) -> None:
    for number in range(MOST_OF_ONE_ADDRESS):
        assert connections.admit(f"a{number}", AGENT) == (True, None)


def test_the_one_that_is_idle_for_longest_makes_room() -> None:
    connections: Connections[str] = Connections(Clock())
    full(connections)
    assert connections.admit("new", AGENT) == (True, "a0")
    assert connections.admit("newer", AGENT) == (True, "a1")


def test_a_request_under_way_is_not_idle() -> None:
    connections: Connections[str] = Connections(Clock())
    full(connections)
    connections.begin("a0", 1)
    assert connections.idle("a0") is None
    assert connections.admit("new", AGENT) == (True, "a1")
    connections.end("a0", 1)
    # Its time counts from the end of its request.
    assert connections.admit("newer", AGENT) == (True, "a2")


def test_where_all_are_under_way_there_is_no_room() -> None:
    connections: Connections[str] = Connections(Clock())
    full(connections)
    for number in range(MOST_OF_ONE_ADDRESS):
        connections.begin(f"a{number}", 1)
    assert connections.admit("new", AGENT) == (False, None)
    # Another address has room still.
    assert connections.admit("health", "127.0.0.1") == (True, None)
    connections.leave("a7")
    assert connections.admit("new", AGENT) == (True, None)


def test_all_addresses_together_have_a_limit_too() -> None:
    connections: Connections[str] = Connections(Clock())
    for number in range(MOST):
        assert connections.admit(f"c{number}", f"address {number}") == (True, None)
    assert connections.admit("new", AGENT) == (True, "c0")
