"""Lava: the same networks on the fixed-point models of lava-nc, in a Python 3.10 process of their own."""

from snnkit.deploy.lava.environment import available as available
from snnkit.deploy.lava.simulation import record as record
from snnkit.deploy.lava.simulation import run as run
from snnkit.deploy.lava.simulation import run_netx as run_netx
from snnkit.deploy.lava.verify import Report as Report
from snnkit.deploy.lava.verify import check as check
