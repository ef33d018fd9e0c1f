"""Settings are checked whole, and say everything that is wrong at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "app"))

from rag_admin import credentials, settings

DATABASE = {"APP_DATABASE_FILE": "/run/database.json"}


def test_defaults_need_only_a_database():
    loaded = settings.load(DATABASE)
    assert loaded.bind == ("0.0.0.0", 8000)
    assert loaded.metrics_bind == ("0.0.0.0", 9102)
    assert loaded.log_dir == "/var/log/rag-admin"
    assert loaded.graceful_timeout > 30
    assert loaded.faults is None


def test_every_mistake_is_named():
    wrong = {
        "APP_COLOR": "Dark Green",
        "APP_BIND": "8000",
        "APP_METRICS_BIND": "0.0.0.0:99999",
        "APP_WORKERS": "many",
        "APP_GRACEFUL_TIMEOUT": "0",
        "APP_FAULTS": "enabled",
        "APP_FAULT_ERROR_RATE": "5",
        "APP_FAULT_LATENCY": "nan",
    }
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(wrong)
    message = str(caught.value)
    for name, value in wrong.items():
        if name != "APP_FAULTS":
            assert f"{name}: expected " in message
            assert repr(value) in message
    assert "APP_DATABASE_FILE" in message


@pytest.mark.parametrize("switch", ["", "1", "true", "Enabled", "enabled ", "disabled"])
def test_faults_need_their_exact_switch(switch):
    assert settings.load({**DATABASE, "APP_FAULTS": switch, "APP_FAULT_ERROR_RATE": "1"}).faults is None


def test_systemd_credential_comes_first(tmp_path):
    environment = {**DATABASE, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert settings.load(environment).database_file == DATABASE["APP_DATABASE_FILE"]
    (tmp_path / "database").touch()
    assert settings.load(environment).database_file == str(tmp_path / "database")


SECRET = '{"host": "h", "port": 1, "dbname": "d", "username": "u", "password": "hidden-password"}'


def test_password_stays_out_of_repr():
    assert "hidden-password" not in repr(credentials.parse(SECRET, "x"))


@pytest.mark.parametrize(
    "text",
    ["", "[]", '"hidden"', "{}", '{"password": "hidden"', SECRET.replace('"u"', "null"), SECRET.replace("1", '"x"')],
)
def test_bad_credentials_are_refused_without_being_quoted(text):
    with pytest.raises(credentials.CredentialsError, match=r"^here: expected .*host.*password") as caught:
        credentials.parse(text, "here")
    assert "hidden" not in str(caught.value)


def test_source_is_asked_at_most_once_per_interval():
    reads = []
    answers = [credentials.CredentialsError("not there"), credentials.parse(SECRET, "x")]

    def read():
        reads.append(1)
        answer = answers[min(len(reads), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = credentials.Source(read, reload_interval=60)
    for _ in range(5):
        with pytest.raises(credentials.CredentialsError, match="not there"):
            source.current()
    assert len(reads) == 1

    source = credentials.Source(read, reload_interval=0)
    assert source.current().password == "hidden-password"
    source.current()
    assert len(reads) == 2  # what is known is not asked for again
    source.reload()
    assert len(reads) == 3
