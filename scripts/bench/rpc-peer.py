"""The Python program of the RPC benchmark, with the real Pyro 3: `serve` and `call JSON`, as rpc-peer.mjs.

A Pyro 3 proxy has one call at a time under way, so each connection has a thread of its own.
"""
import json
import sys
import threading
import time

import Pyro.core


class Thing(Pyro.core.ObjBase):
    def add(self, first, second):
        return first + second

    def sizeOf(self, data):
        return len(data)


def serve():
    daemon = Pyro.core.Daemon(host='127.0.0.1', port=0, norange=1)
    print daemon.connect(Thing(), 'thing')
    sys.stdout.flush()
    daemon.requestLoop()


def call(job):
    large = '\x80' * job['bytes']
    counts = [0] * job['connections']
    ended = []

    def caller(index):
        proxy = Pyro.core.getProxyForURI(job['uri'])
        while not ended:
            answer = proxy.sizeOf(large) if large else proxy.add(counts[index], 1)
            if answer < 1:
                raise ValueError('wrong answer: %r' % answer)
            counts[index] += 1

    threads = [threading.Thread(target=caller, args=(index,)) for index in range(job['connections'])]
    for thread in threads:
        thread.start()
    time.sleep(job['warmUpMs'] / 1000.0)
    before = sum(counts)
    start = time.time()
    time.sleep(job['measureMs'] / 1000.0)
    measured = {'calls': sum(counts) - before, 'ms': (time.time() - start) * 1000}
    ended.append(True)
    for thread in threads:
        thread.join()
    print json.dumps(measured)


Pyro.core.initServer(storageCheck=0)
if sys.argv[1] == 'serve':
    serve()
else:
    call(json.loads(sys.argv[2]))
