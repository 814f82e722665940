"""What the host servers are given: ``ProxyApp`` as middleware around ``inside``.

Imported by the host server that ``tests.hosts.servers`` starts; ``WSGIPROXY_CONFIG`` names the configuration.
"""

from __future__ import annotations

import os

from tests.hosts.inside import inside
from wsgiproxy import ProxyApp

application = ProxyApp.from_file(os.environ["WSGIPROXY_CONFIG"], fallback=inside)
