"""What mitmdump loads: `mitmdump -s script.py`. The entrypoint puts the package on the path."""

import os

from egress.addon import Egress, refuse
from egress.credentials import Credentials
from egress.log import Log
from egress.settings import BadSettings, read_settings


def _egress() -> Egress:
    try:
        settings = read_settings(os.environ)
    except BadSettings as error:
        refuse([str(error)])
    return Egress(settings, Credentials.take_from(os.environ), Log())


addons = [_egress()]
