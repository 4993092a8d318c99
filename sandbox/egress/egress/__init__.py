"""The agent's way out to the web: a mitmproxy addon that lets through what routes.yaml allows.

`script.py` is what mitmdump loads and `addon.py` has its hooks. Everything that decides is pure and
knows nothing of mitmproxy: `decision.py`, `target.py`, `hostname.py`, `routes.py`, `headers.py`.
"""
