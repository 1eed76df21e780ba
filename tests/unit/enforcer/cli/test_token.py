# SPDX-License-Identifier: Apache-2.0
"""`lictor token`: a script can take the secret, and nobody sees it again."""

from __future__ import annotations

import json
import time

import pytest

from controlplane.contract.records import NewToken, TokenList
from enforcer.cli.exits import EXIT_FAILED, EXIT_USAGE
from enforcer.cli.main import main
from enforcer.cli.token import _state
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

Capture = pytest.CaptureFixture[str]
CREATE = ["token", "create", "--name", "ci", "--role", "viewer"]


def rows(capsys: Capture) -> dict[str, list[str]]:
    """Words of the list's lines, by the token's name."""
    capsys.readouterr()
    assert main(["token", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["ID", "NAME", "ROLE", "NODE", "STATE"]
    return {line.split()[1]: line.split() for line in lines[1:]}


def test_the_secret_stands_alone_on_standard_output(
    controlplane: ServedControlPlane, capsys: Capture
) -> None:
    assert main([*CREATE, "--for", "30d"]) == 0
    output = capsys.readouterr()
    secret = output.out.removesuffix("\n")
    assert len(secret.split()) == 1
    assert secret not in output.err
    file = controlplane.folder / "ci.token"
    file.write_text(secret)
    assert main(["nodes", "--token-file", str(file)]) == 0
    capsys.readouterr()
    main(["token", "list", "--json"])
    text = capsys.readouterr().out
    assert secret.split("_", 2)[2] not in text
    [made] = [
        each for each in TokenList.model_validate(json.loads(text)).tokens if each.name == "ci"
    ]
    assert made.expires == pytest.approx(time.time() + 30 * 86_400, abs=60)
    assert made.id in output.err


def test_a_token_of_a_node_is_the_nodes(controlplane: ServedControlPlane, capsys: Capture) -> None:
    words = ["token", "create", "--name", "gpu", "--role", "node", "--node", "gpu-1", "--json"]
    assert main(words) == 0
    made = NewToken.model_validate(json.loads(capsys.readouterr().out))
    assert (made.token.node, made.token.expires) == ("gpu-1", None)
    assert rows(capsys)["gpu"][2:5] == ["node", "gpu-1", "good"]


def test_a_revoked_token_opens_nothing(controlplane: ServedControlPlane, capsys: Capture) -> None:
    main(CREATE)
    file = controlplane.folder / "ci.token"
    file.write_text(capsys.readouterr().out)
    name = rows(capsys)["ci"][0]
    assert main(["token", "revoke", name]) == 0
    assert capsys.readouterr().out == f"token {name}: revoked\n"
    assert main(["nodes", "--token-file", str(file)]) == EXIT_FAILED
    assert "revoked" in capsys.readouterr().err
    assert rows(capsys)["ci"][4] == "revoked"
    assert main(["token", "revoke", "nobody"]) == EXIT_FAILED
    assert "nobody: is not known" in capsys.readouterr().err


def test_an_expired_token_is_called_so(controlplane: ServedControlPlane, capsys: Capture) -> None:
    main([*CREATE, "--for", "1w", "--json"])
    token = NewToken.model_validate(json.loads(capsys.readouterr().out)).token
    assert _state(token) == "good"
    assert _state(token.model_copy(update={"expires": time.time() - 1})) == "expired"


@pytest.mark.parametrize("life", ["30", "d", "0h", "-1d", "1.5h", "3y", ""])
def test_a_life_that_is_none_is_wrong_usage(life: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*CREATE, f"--for={life}"])
    assert caught.value.code == EXIT_USAGE
    assert f"{life!r} is no time such as 90s, 45m, 12h, 30d or 4w" in capsys.readouterr().err
