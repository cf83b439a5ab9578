"""Pickles values by Python's own picklers, and says whether other pickles of them mean the same to Python.

Each line in asks one thing, in base64 wherever it is pickles:
  {"pickle": source}: answered with the pickles of that value, by `pickle` and by `cPickle`, by protocol;
    or with null where Python itself can't pickle it, or not read it again
  {"compare": [[pickle, [other pickle, ...]], ...]}: answered with a list of what is wrong with the others
"""
import base64
import cPickle
import json
import pickle
import sys

import Pyro.core
import Pyro.errors
import Pyro.naming

import values

MODULES = (pickle, cPickle)
PROTOCOLS = (0, 1, 2)


def capsule(*arguments):
    return Pyro.errors.PyroExceptionCapsule(Pyro.errors.NamingError(*arguments), ['Traceback\n', 'line\n'])


def uri(port):
    return Pyro.core.PyroURI('PYRO://127.0.0.1:%d/x' % port)


values.MAKERS.update({
    'PyroExceptionCapsule': capsule,
    'DynamicProxy': lambda: Pyro.core.DynamicProxy(uri(7766)),
    'DynamicProxyWithAttrs': lambda: Pyro.core.DynamicProxyWithAttrs(uri(7766)),
    'NameServerProxy': lambda: Pyro.naming.NameServerProxy(uri(9090), 'passphrase', noconnect=1),
    'NamedTree': lambda *items: Pyro.naming.NamedTree('name', None, list(items)),
})


def pickles_of(source):
    value = values.Builder().build(source)
    made = {}
    for module in MODULES:
        for protocol in PROTOCOLS:
            try:
                pickled = module.dumps(value, protocol)
                module.loads(pickled)
            except Exception:
                return None
            made['%s %d' % (module.__name__, protocol)] = base64.b64encode(pickled)
    return made


def differences(one, others):
    expected = values.describe(cPickle.loads(base64.b64decode(one)))
    for other in others:
        for module in MODULES:
            try:
                found = values.describe(module.loads(base64.b64decode(other)))
            except Exception, error:
                yield '%s can not read it: %r' % (module.__name__, error)
                continue
            if found != expected:
                yield '%s reads %s instead of %s' % ((module.__name__,) + first_difference(found, expected))


def first_difference(found, expected):
    """The innermost parts of two descriptions that differ."""
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for pair in zip(found, expected):
            if pair[0] != pair[1]:
                return first_difference(*pair)
    return json.dumps(found), json.dumps(expected)


def answer(question):
    if 'pickle' in question:
        return pickles_of(question['pickle'])
    return [difference for one, others in question['compare'] for difference in differences(one, others)]


for line in iter(sys.stdin.readline, ''):
    print json.dumps(answer(json.loads(line)))
