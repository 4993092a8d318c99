"""What mitmdump loads: `mitmdump -s script.py`. The entrypoint puts the package on the path."""

import os

from egress.addon import Egress, refuse
from egress.log import Log
from egress.settings import BadSettings, read_settings
from egress.token_sources import TokenSources


def _egress() -> Egress:
    try:
        settings = read_settings(os.environ)
    except BadSettings as error:
        refuse([str(error)])
    sources = TokenSources.take_from(os.environ, settings.tokens_directory)
    return Egress(settings, sources, Log())


addons = [_egress()]
