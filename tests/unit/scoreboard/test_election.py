"""One is elected; when it ends, another is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.scoreboard.hammer import ROOT
from wsgiproxy.scoreboard.election import Election

ASK = (
    "import sys; from pathlib import Path; from wsgiproxy.scoreboard.election import Election\n"
    "election = Election(Path(sys.argv[1]))\n"
    "for line in sys.stdin: print(election.won(), flush=True)"
)
FORK = (
    "import os, sys, time; from pathlib import Path; from wsgiproxy.scoreboard.election import Election\n"
    "election = Election(Path(sys.argv[1])); before = election.won()\n"
    "if os.fork(): os._exit(0)\n"
    "deadline = time.monotonic() + 20\n"
    "while not election.won() and time.monotonic() < deadline: time.sleep(0.01)\n"
    "print(before, election.won())"
)


class Voter(subprocess.Popen[str]):
    """A process that answers whether it is elected, as often as it is asked."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", ASK, str(path)]
        super().__init__(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def won(self) -> bool:
        """What it answers."""
        assert self.stdin is not None
        assert self.stdout is not None
        self.stdin.write("?\n")
        self.stdin.flush()
        return self.stdout.readline() == "True\n"

    def end(self) -> None:
        """By SIGKILL."""
        self.kill()
        with self:
            self.wait()


def test_one_of_many_is_elected_until_it_is_killed_and_then_another(tmp_path: Path) -> None:
    voters = [Voter(tmp_path / "checker") for _ in range(3)]
    try:
        for left in (3, 2, 1):
            answers = [voter.won() for voter in voters]
            assert answers.count(True) == 1
            assert [voter.won() for voter in voters] == answers
            assert len(voters) == left
            voters.pop(answers.index(True)).end()
    finally:
        for voter in voters:
            voter.end()


def test_a_child_does_not_keep_the_office_of_its_parent_but_may_be_elected_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path / "checker")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert done.stdout == "True True\n"


def test_who_leaves_lets_another_in(tmp_path: Path) -> None:
    election = Election(tmp_path / "checker")
    assert election.won()
    assert repr(election).startswith(f"<Election {tmp_path}/checker: won by")
    voter = Voter(tmp_path / "checker")
    try:
        assert not voter.won()
        election.leave()
        election.leave()
        assert voter.won()
    finally:
        voter.end()


def test_the_file_is_this_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "checker"
    Election(path).leave()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(PermissionError, match="0600"):
        Election(path)
    assert os.listdir("/proc/self/fd") == before
