from pathlib import Path

import pytest

from egress import ca

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\n"


def test_a_key_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    key = tmp_path / "mitmproxy-ca.pem"
    key.touch(0o600)
    assert ca.key_problem(key) is None
    key.chmod(0o640)
    assert "chmod 600" in (ca.key_problem(key) or "")
    assert "No such file" in (ca.key_problem(tmp_path / "none") or "")


def test_the_certificate_is_readable_to_all_and_in_one_piece(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"old")
    ca.export_certificate(CERTIFICATE, file)
    assert file.read_bytes() == CERTIFICATE
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_is_never_handed_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        ca.export_certificate(b"-----BEGIN RSA PRIVATE KEY-----\n", tmp_path / "ca.pem")
    assert list(tmp_path.iterdir()) == []
