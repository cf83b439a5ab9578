"""What real clients say to a name server, for scripts/record-exchanges.mjs: one exchange per run.

Arguments: the exchange's name, the name server's URI, and the identification, if any. Configuration: PYRO_* items of
the environment.
"""
import datetime
import sys

import Pyro.core
import Pyro.errors
import Pyro.naming

import client_classes
import values


def attempt(function, *args, **keywords):
    """Errors are part of the exchange."""
    try:
        return function(*args, **keywords)
    except Pyro.errors.ProtocolError:
        raise
    except Exception:
        return None


def all_methods(ns, text):
    """Every method, with every answer it can have. `text` makes the kind of string that a client sends."""
    attempt(ns.ping)
    attempt(ns.createGroup, text(':Exchange'))
    attempt(ns.createGroup, text(':Exchange'))
    attempt(ns.createGroup, text(':Missing.group'))
    attempt(ns.createGroup, text(':bad name'))
    attempt(ns.register, text(':Exchange.string'), text('PYRO://127.0.0.1:7766/7f00000118ac29cd31b68fb1a7f12b4aee'))
    attempt(ns.register, text(':Exchange.uri'), values.uri(text('PYRO'), text('10.1.2.3'), 7767, text('an-object')))
    attempt(ns.register, text('relative'), text('PYRO://127.0.0.1/without-a-port'))
    attempt(ns.register, text(':Exchange.string'), text('PYRO://127.0.0.1:1/taken'))
    attempt(ns.register, text(':Exchange.bad'), text('no uri'))
    attempt(ns.register, text(':Missing.object'), text('PYRO://127.0.0.1:1/x'))
    attempt(ns.register, text(':a..b'), text('PYRO://127.0.0.1:1/x'))
    attempt(ns.register, text(':a\\b'), text('PYRO://127.0.0.1:1/x'))
    attempt(ns.resolve, text(':Exchange.string'))
    attempt(ns.resolve, text(':Exchange.uri'))
    attempt(ns.resolve, text('relative'))
    attempt(ns.resolve, text(':Exchange'))
    attempt(ns.resolve, text(':Exchange.missing'))
    attempt(ns.resolve, text(':Pyro.NameServer'))
    attempt(ns.list, text(':Exchange'))
    attempt(ns.list, text(':'))
    attempt(ns.list, text(':Exchange.uri'))
    attempt(ns.list, text(':Missing'))
    attempt(ns.list, None)
    attempt(ns.flatlist)
    attempt(ns.getMeta, text(':Exchange.uri'))
    attempt(ns.setMeta, text(':Exchange.uri'), text('a text'))
    attempt(ns.getMeta, text(':Exchange.uri'))
    attempt(ns.setMeta, text(':Exchange'), {text('of a group'): [1, 2L, 3.0, None, True, (), (text('x'),)]})
    attempt(ns.getMeta, text(':Exchange'))
    attempt(ns.setMeta, text(':Exchange.missing'), 1)
    attempt(ns.getMeta, text(':Exchange.missing'))
    attempt(ns._setSystemMeta, text(':Exchange.uri'), values.system_meta(1, 1011195902.5, None))
    attempt(ns._getSystemMeta, text(':Exchange.uri'))
    attempt(ns._setSystemMeta, text(':Exchange.uri'), 'no system meta')
    attempt(ns._getSystemMeta, text(':Exchange.missing'))
    attempt(ns.resync)
    attempt(ns._shutdown)
    attempt(ns.unregister, text(':Exchange.string'))
    attempt(ns.unregister, text(':Exchange.string'))
    attempt(ns.unregister, text(':Exchange'))
    attempt(ns.deleteGroup, text(':Exchange.uri'))
    attempt(ns.deleteGroup, text(':Exchange'))
    attempt(ns.deleteGroup, text(':Exchange'))
    attempt(ns.deleteGroup, text(':'))
    attempt(ns.flatlist)


def of_proxy(uri, identification):
    ns = Pyro.naming.NameServerProxy(uri, identification)
    all_methods(ns, str)


def of_dynamic_proxy(uri, identification):
    all_methods(Pyro.core.DynamicProxy(uri), str)


def of_attribute_proxy(uri, identification):
    ns = Pyro.core.DynamicProxyWithAttrs(uri)
    attempt(ns.register, 'one', 'PYRO://127.0.0.1:1/one')
    attempt(ns.resolve, 'one')
    attempt(ns.unregister, 'one')


def of_jython(uri, identification):
    """Jython and IronPython send unicode where CPython sends str."""
    all_methods(Pyro.core.DynamicProxy(uri), unicode)


def of_keywords(uri, identification):
    ns = Pyro.core.DynamicProxy(uri)
    attempt(ns.createGroup, groupname=':Exchange')
    attempt(ns.register, name=':Exchange.one', URI='PYRO://127.0.0.1:1/one')
    attempt(ns.register, ':Exchange.two', URI='PYRO://127.0.0.1:1/two')
    attempt(ns.resolve, name=':Exchange.one')
    attempt(ns.list, groupname=':Exchange')
    attempt(ns.setMeta, ':Exchange.one', meta='m')
    attempt(ns.getMeta, name=':Exchange.one')
    attempt(ns.deleteGroup, groupname=':Exchange')


def of_locator(uri, identification):
    """With a host the locator connects by PYROLOC, pings, disconnects, and connects again."""
    ns = Pyro.naming.NameServerLocator(identification).getNS(uri.address, uri.port)
    ns.ping()
    ns.resolve(':Pyro.NameServer')


def of_one_way_calls(uri, identification):
    ns = Pyro.core.DynamicProxy(uri)
    ns.register('one', 'PYRO://127.0.0.1:1/one')
    ns._setOneway(['ping', 'nonsense'])
    ns.ping()
    ns.nonsense()
    ns.resolve('one')


def of_metadata(uri, identification):
    """Metadata of many types, classes that only clients know among them."""
    ns = Pyro.naming.NameServerProxy(uri, identification)
    ns.register('one', 'PYRO://127.0.0.1:1/one')
    cyclic = client_classes.NewStyle('a')
    cyclic.itself = cyclic
    shared = ['shared']
    for meta in (
        [0, 1, 255, 256, 65535, 65536, -1, 2 ** 31, 2 ** 40, 2 ** 62, 2L, 2 ** 100, -2 ** 2100],
        [0.0, -0.0, 1.5, 1e300, float('inf')],
        ['', 'text', 'bytes \x00\xff', "it's", 'x' * 300, u'', u'text', u'\xe9\u20ac\U0001f40d', u'\ud800', u'\\u0041\n'],
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {'a': (1, [2])}, set([1]), frozenset(['x'])],
        [1 + 2j, datetime.datetime(2002, 1, 16, 16, 45, 2, 5), datetime.timedelta(1, 2, 3), ValueError('text', 1)],
        [shared, shared, (shared, shared)],
        cyclic,
        client_classes.OldStyle(1, 'two'),
        client_classes.OldStyleWithArguments(1, 'two'),
        client_classes.WithNewArguments(1, 'two'),
        client_classes.WithSlots(1, 'two'),
        client_classes.Reduced(1, 'two'),
        client_classes.Registered(1, 'two'),
        [values.list_child(1, 2), values.dict_child(1, 2), client_classes.StrChild('text'), values.error('text')],
        [client_classes.NewStyle, client_classes.rebuild, len],
        range(1100),
        dict.fromkeys(range(1100)),
        None,
    ):
        ns.setMeta('one', meta)
        assert values.describe(ns.getMeta('one')) == values.describe(meta), meta


EXCHANGES = {
    'proxy': of_proxy,
    'dynamic-proxy': of_dynamic_proxy,
    'attribute-proxy': of_attribute_proxy,
    'jython': of_jython,
    'keywords': of_keywords,
    'locator': of_locator,
    'one-way-calls': of_one_way_calls,
    'metadata': of_metadata,
}


def main(name, uri, identification=None):
    try:
        EXCHANGES[name](Pyro.core.PyroURI(uri), identification)
    except Pyro.errors.ConnectionDeniedError, denied:
        print 'denied:', denied


main(*sys.argv[1:])
