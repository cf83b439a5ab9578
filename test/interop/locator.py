"""Answers each question, a line of JSON, with what the real Pyro 3's locator says, as a line of JSON."""
import json
import sys

import Pyro.core
import Pyro.errors
import Pyro.naming

Pyro.core.initClient(banner=0)
items = dict((name, getattr(Pyro.config, name)) for name in dir(Pyro.config) if name.startswith('PYRO_'))


def answer(question):
    for name, value in items.items():
        setattr(Pyro.config, name, value)
    for name, value in question['items'].items():
        setattr(Pyro.config, name, value)
    locator = Pyro.naming.NameServerLocator(identification=question.get('identification'))
    where = [question.get(name) for name in ('host', 'port')]
    try:
        return {'answer': str(locator.sendSysCommand(question['command'], *where, bcaddr=question.get('bcaddr')))}
    except Pyro.errors.PyroError, error:
        return {'error': str(error)}


for line in iter(sys.stdin.readline, ''):
    print json.dumps(answer(json.loads(line)))
    sys.stdout.flush()
