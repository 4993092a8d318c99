from pathlib import Path

import pytest

from egress.settings import BadSettings, read_settings


def test_the_routes_have_their_usual_place() -> None:
    settings = read_settings({"PATH": "/bin", "EGRESS_TOKEN_1": "x", "EGRESS_UPSTREAM_CA": "y"})
    assert settings.routes_file == Path("/etc/egress/routes.yaml")
    assert settings.ca_file is None
    assert settings.tokens_directory == Path("/run/secrets")


def test_a_misspelt_variable_is_refused_without_its_value() -> None:
    with pytest.raises(BadSettings, match="unknown variable EGRESS_UPSTREM_CA") as raised:
        read_settings({"EGRESS_UPSTREM_CA": "s3cret"})
    assert "s3cret" not in str(raised.value)
