"""A throw-away certificate authority, made with the ``openssl`` command in a folder of the test's own.

Keys are on a curve: quick to make and to use. Nothing here is remembered by anybody: each authority is its own world.
"""

from __future__ import annotations

import ipaddress
import itertools
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
DAYS = 30


@dataclass(frozen=True)
class Leaf:
    """One certificate (with the chain below its root behind it) and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A root, or what a root has made with ``subordinate``; ``certificate`` is the file that others are to believe."""

    def __init__(self, folder: Path, name: str = "Throw-away Root") -> None:
        """Makes a root of this name in ``folder``."""
        self._folder = folder
        self._numbers = itertools.count(1)
        self._chain = ""
        self.certificate, self.key = self._paths(name)
        more = [word for extension in CA for word in ("-addext", extension)]
        files = ("-out", self.certificate, "-keyout", self.key)
        request("-x509", *NEW_KEY, "-subj", f"/CN={name}", *more, *files, "-days", DAYS)

    def issue(self, *names: str, days: int = DAYS, organization: str = "") -> Leaf:
        """A certificate for these DNS names (wildcards too) and addresses, good for servers and clients.

        The first is its common name, too. A negative number of ``days`` makes one that has expired already.
        """
        subject = f"/O={organization}/CN={names[0]}" if organization else f"/CN={names[0]}"
        alternatives = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
        leaf = Leaf(*self._paths(names[0]))
        self._sign(leaf.certificate, leaf.key, subject, days, f"subjectAltName={alternatives}")
        leaf.certificate.write_text(leaf.certificate.read_text() + self._chain)
        return leaf

    def subordinate(self, name: str = "Throw-away Intermediate") -> Authority:
        """An authority below this one: what it issues has its own certificate in the chain."""
        below = Authority.__new__(Authority)
        below._folder, below._numbers = self._folder, self._numbers
        below.certificate, below.key = self._paths(name)
        self._sign(below.certificate, below.key, f"/CN={name}", DAYS, *CA)
        below._chain = below.certificate.read_text() + self._chain
        return below

    def _sign(self, certificate: Path, key: Path, subject: str, days: int, *more: str) -> None:
        asked = certificate.with_suffix(".csr")
        request("-new", *NEW_KEY, "-subj", subject, "-out", asked, "-keyout", key)
        signer = ("-CA", self.certificate, "-CAkey", self.key, "-set_serial", f"0x{uuid.uuid4().hex[:16]}")
        openssl(
            "x509", "-req", "-in", asked, *signer, "-days", days, "-extfile", "/dev/stdin", "-out", certificate,
            text="\n".join((*more, "authorityKeyIdentifier=keyid")),
        )  # fmt: skip

    def _paths(self, name: str) -> tuple[Path, Path]:
        stem = f"{next(self._numbers)}-{name.replace('*', '_').replace(' ', '-').replace(':', '_')}"
        return self._folder / f"{stem}.pem", self._folder / f"{stem}.key"


CA = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash")


def request(*words: object) -> None:
    """``openssl req``, with no configuration but what the words say."""
    openssl("req", "-batch", "-utf8", "-config", "/dev/stdin", *words, text="[req]\ndistinguished_name=none\n[none]\n")


def openssl(*words: object, text: str = "") -> None:
    """Run the command; it must succeed."""
    command = ["openssl", *map(str, words)]
    done = subprocess.run(command, check=False, input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
