from conformance import known


def sets() -> dict[str, frozenset[str]]:
    return {
        name: value
        for name, value in vars(known).items()
        if isinstance(value, frozenset) and all(isinstance(member, str) for member in value)
    }


def test_names_are_lower_case() -> None:
    assert {name for names in sets().values() for name in names if name != name.lower()} == set()


def test_nothing_is_both_a_singleton_and_repeatable() -> None:
    assert frozenset() == known.SINGLETONS & known.REPEATABLE


def test_nothing_is_both_for_requests_and_for_responses_only() -> None:
    assert frozenset() == known.REQUEST_ONLY & known.RESPONSE_ONLY


def test_hop_by_hop_fields_are_not_end_to_end() -> None:
    assert frozenset() == known.HOP_BY_HOP & known.END_TO_END
