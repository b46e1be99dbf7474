"""Online, offline or disabled: what decides, and that nothing asks or waits."""

import socket
from pathlib import Path

import pytest

from longtail.tracking.mode import check_mode, choose_mode

from ..conftest import WandbServer


def without_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_it_is_offline_without_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_key(monkeypatch, tmp_path)
    assert choose_mode("auto", "http://127.0.0.1:9") == "offline"
    assert capsys.readouterr().err == ""
    assert choose_mode("online", "http://127.0.0.1:9") == "offline"
    assert "there is no API key" in capsys.readouterr().err


@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "never answers"])
def test_auto_is_offline_without_a_server(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:
            taken.listen()
        assert choose_mode("auto", f"http://127.0.0.1:{taken.getsockname()[1]}", timeout=0.3) == "offline"


def test_it_is_online_with_a_key_in_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wandb_server: WandbServer
) -> None:
    without_key(monkeypatch, tmp_path)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login user password {'0' * 40}\n")
    assert choose_mode("auto", wandb_server.url) == "online"


@pytest.mark.parametrize(
    ("variable", "mode"), [("", "auto"), ("dryrun", "offline"), ("run", "online"), ("disabled", "disabled")]
)
def test_the_variable_decides_where_the_setting_is_auto(
    variable: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert check_mode("auto") == mode
    assert check_mode("offline") == "offline"


def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^mode=sometimes: must be one of auto, online, offline "):
        check_mode("sometimes")
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(ValueError, match=r"^WANDB_MODE=shared: must be one of online, offline, disabled"):
        check_mode("auto")
