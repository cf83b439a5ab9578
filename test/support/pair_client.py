"""A Pyro 3 client of a pair of name servers, found by the PYRO_* items of the environment.

The first line out is "ready". Then each line in is a call, [method, arg...]; each line out is "done", or what was raised:
[class, text].
"""
import json
import sys

import Pyro.core
import Pyro.errors
import Pyro.naming

Pyro.core.initClient(banner=0)
ns = Pyro.naming.NameServerLocator().getNS()
sys.stdout.write('"ready"\n')
sys.stdout.flush()
for line in iter(sys.stdin.readline, ''):
    call = json.loads(line)
    try:
        getattr(ns, call[0])(*[str(arg) for arg in call[1:]])
        answer = 'done'
    except Exception, x:
        answer = [x.__class__.__name__, str(x)]
    sys.stdout.write(json.dumps(answer) + '\n')
    sys.stdout.flush()
