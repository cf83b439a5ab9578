"""Carries out operations on name servers through the real Pyro 3 client, and says what came of each.

Arguments: the servers' URIs. Each line in is an operation:
  {"style", "method", "args", "keywords", "flags", "object", "wire": {"format", "checksum", "compression"}, "only"}
Each line out is a list with an outcome per server: {"value"} or {"error", "args", "trace"}.
"""
import json
import sys

import Pyro.core
import Pyro.naming
import Pyro.protocol

import values

TIMEOUT_SECONDS = 20


def no_other_name_server(self, *arguments):
    """The proxy looks for another name server after a ProtocolError: here the error itself is what is wanted."""
    raise


Pyro.naming.NameServerLocator.detectNS = no_other_name_server


class RawProxy(object):
    """Calls any method of any object with any flags, and any arguments."""

    def __init__(self, uri):
        self.adapter = Pyro.protocol.getProtocolAdapter('PYRO')
        self.adapter.setTimeout(TIMEOUT_SECONDS)
        self.uri = uri

    def call(self, operation, args, keywords):
        if not self.adapter.connected():
            self.adapter.bindToURI(self.uri.clone())
        self.adapter.URI.objectID = operation.get('object', self.uri.objectID)
        return self.adapter.remoteInvocation(operation['method'], operation.get('flags', 0), *args)


class ProxyOfNameServer(object):
    """The name server's own proxy: names are expanded at the client, flags are 0."""

    def __init__(self, uri):
        self.proxy = Pyro.naming.NameServerProxy(uri.clone())
        self.adapter = self.proxy.adapter
        self.adapter.setTimeout(TIMEOUT_SECONDS)

    def call(self, operation, args, keywords):
        return getattr(self.proxy, operation['method'])(*args, **keywords)


class ProxyOfAnyObject(object):
    """A dynamic proxy: flags are 3; with attributes, it first asks what a name is."""

    def __init__(self, uri, proxy_class):
        self.proxy = proxy_class(uri.clone())
        self.proxy._setTimeout(TIMEOUT_SECONDS)
        self.adapter = self.proxy.adapter

    def call(self, operation, args, keywords):
        return getattr(self.proxy, operation['method'])(*args, **keywords)


class Server(object):
    def __init__(self, uri):
        uri = Pyro.core.PyroURI(uri)
        self.proxies = {
            'raw': RawProxy(uri),
            'proxy': ProxyOfNameServer(uri),
            'dynamic': ProxyOfAnyObject(uri, Pyro.core.DynamicProxy),
            'attributes': ProxyOfAnyObject(uri, Pyro.core.DynamicProxyWithAttrs),
        }

    def perform(self, operation):
        builder = values.Builder()
        args = builder.build_all(operation['args'])
        keywords = dict((str(name), builder.build(value)) for name, value in operation.get('keywords', {}).items())
        proxy = self.proxies[operation['style']]
        try:
            return {'value': values.describe(proxy.call(operation, args, keywords))}
        except Exception, error:
            if isinstance(error, Pyro.errors.ProtocolError):
                proxy.adapter.release()
            return self.describe_error(error)

    def describe_error(self, error):
        kind = error.__class__
        trace = getattr(error, 'remote_stacktrace', None)
        return {
            'error': '%s.%s' % (kind.__module__, kind.__name__),
            'args': [values.describe(argument) for argument in error.args],
            'trace': values.describe(trace),
        }


def main(uris):
    servers = [Server(uri) for uri in uris]
    for line in iter(sys.stdin.readline, ''):
        operation = json.loads(line)
        wire = operation.get('wire', {})
        Pyro.config.PYRO_PICKLE_FORMAT = wire.get('format', 2)
        Pyro.config.PYRO_CHECKSUM = wire.get('checksum', 0)
        Pyro.config.PYRO_COMPRESSION = wire.get('compression', 0)
        only = operation.get('only')
        chosen = servers if only is None else [servers[only]]
        sys.stdout.write(json.dumps([server.perform(operation) for server in chosen]) + '\n')


main(sys.argv[1:])
