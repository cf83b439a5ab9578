"""A Python program with the real Pyro 3: it serves an object, calls others, and does what it is told.

The first line out is the URI of its Thing. Each line in is a Python expression, as a JSON string; each line out what came
of it: {"value": repr} or {"error": class, "args": repr, "trace": how many lines of remote traceback}.
"""
import datetime
import json
import sys
import threading
import time

import Pyro.core
import Pyro.errors
import Pyro.protocol
from Pyro.core import PyroURI


class Refused(Exception):
    """An exception that only this program knows."""


class Kept(object):
    """A class that only this program knows."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Kept) and other.value == self.value


class OldStyle:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, OldStyle) and other.value == self.value


class Thing(Pyro.core.ObjBase):
    """What Node programs call."""

    def __init__(self):
        Pyro.core.ObjBase.__init__(self)
        self.attribute = 5
        self.noted = []

    def add(self, first, second=10):
        return first + second

    def given(self, *args, **keywords):
        return repr((args, keywords))

    def same(self, value):
        return value

    def evaluated(self, expression):
        return eval(expression)

    def fail(self):
        error = ValueError('no', 1)
        error.extra = 7
        raise error

    def refuse(self):
        raise Refused('no', 1)

    def fail_by_pyro(self):
        raise Pyro.errors.NamingError('name not found', ':x')

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def note(self, value):
        self.noted.append(value)

    def call_back(self, proxy, *args):
        return proxy.called(*args)

    def about(self, proxy):
        adapter = proxy.adapter
        return (proxy.__class__.__name__, str(proxy.URI), adapter.ident, adapter.timeout, adapter.onewayMethods)

    def proxies(self):
        return [self.getProxy(), self.getAttrProxy(), self.getProxy().URI]

    def called(self, *args):
        return ('called', args)


def proxy(uri, identification=None, timeout=20, oneway=(), attributes=False):
    made = (Pyro.core.getAttrProxyForURI if attributes else Pyro.core.getProxyForURI)(uri)
    made._setIdentification(identification)
    made._setTimeout(timeout)
    made._setOneway(oneway)
    return made


def keeping(uri, _kept={}):
    """The same proxy each time."""
    if uri not in _kept:
        _kept[uri] = proxy(uri)
    return _kept[uri]


def setting(**items):
    for name, value in items.items():
        setattr(Pyro.config, name, value)


def cycle():
    made = {'list': []}
    made['list'].append(made)
    return made


def assign(target, name, value):
    setattr(target, name, value)
    return getattr(target, name)


def outcome(expression):
    try:
        return {'value': repr(eval(expression))}
    except Exception as error:
        trace = getattr(error, 'remote_stacktrace', None)
        return {
            'error': '%s.%s' % (error.__class__.__module__, error.__class__.__name__),
            'args': repr(error.args),
            'trace': len(trace or ()),
        }


Pyro.core.initServer(storageCheck=0)
daemon = Pyro.core.Daemon(host='127.0.0.1', port=0, norange=1)
thing = Thing()
uri = daemon.connect(thing, 'thing')
if len(sys.argv) > 1:
    daemon.setAllowedIdentifications(sys.argv[1:])
serving = threading.Thread(target=daemon.requestLoop)
serving.setDaemon(True)
serving.start()

for line in iter(sys.stdin.readline, ''):
    print json.dumps(outcome(json.loads(line)))
