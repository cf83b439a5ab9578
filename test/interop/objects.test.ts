import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import { loadConfig, silentLog, type Config } from '../../src/config/index.js';
import * as pyro from '../../src/index.js';
import { lacksPyro3 } from '../support/pyro3.js';
import { PythonProcess } from '../support/python-process.js';

// The square of clients and servers, Node and Python: here the two mixed sides of it, with the real Pyro 3.

const IDENTIFICATION = 's3same';
const LARGE = 50 << 20;

interface CalledBack {
  called(...args: unknown[]): unknown;
}

/** What the Python program serves. */
interface Thing extends CalledBack {
  readonly attribute: number;
  readonly noted: unknown[];
  add(first: number, second?: number): number;
  given(...args: unknown[]): string;
  same(value: unknown): unknown;
  evaluated(expression: string): unknown;
  fail(): never;
  refuse(): never;
  fail_by_pyro(): never;
  sleep(seconds: number): number;
  note(value: unknown): void;
  call_back(proxy: unknown, ...args: unknown[]): unknown;
  about(proxy: unknown): pyro.PythonTuple;
  proxies(): unknown[];
}

/** What the Node program serves. */
class Server extends pyro.ObjBase {
  attribute = 5;
  readonly noted: unknown[] = [];

  add(first: number, second: number | { second?: number } = 10): number {
    return first + (typeof second === 'number' ? second : (second.second ?? 10));
  }

  same(value: unknown): unknown {
    return value;
  }

  async sleep(seconds: number): Promise<number> {
    await delay(seconds * 1000);
    return seconds;
  }

  note(value: unknown): void {
    this.noted.push(value);
  }

  seen(): unknown {
    return this.noted;
  }

  fail(): never {
    throw new pyro.RemoteError('exceptions', 'KeyError', ['no', 1], new Map([['extra', 7]]));
  }

  refuse(): never {
    throw new pyro.RemoteError('__main__', 'Refused', ['no', 1]);
  }

  failByPyro(): never {
    throw new pyro.NamingError('name not found', ':x');
  }

  failAnyhow(): never {
    throw new Error('a failure');
  }

  async callBack(proxy: pyro.Proxy<CalledBack>, ...args: unknown[]): Promise<unknown> {
    try {
      return await proxy.called(...args);
    } finally {
      await proxy._release();
    }
  }

  proxies(): unknown[] {
    return [this.getProxy(), this.getAttrProxy(), this.getURI()];
  }

  called(...args: unknown[]): unknown {
    return ['called', ...args];
  }
}

(lacksPyro3('Node and Python objects calling each other') ? describe.skip : describe)('with the real Pyro 3', () => {
  let config: Config;
  let python: PythonProcess;
  let guarded: PythonProcess;
  let thingURI: string;
  let guardedURI: string;
  let daemon: pyro.Daemon;
  let server: Server;
  let serverURI: string;
  const proxies: pyro.DynamicProxy[] = [];

  const options = (changes: Partial<Config> = {}): pyro.AdapterOptions => ({
    config: { ...config, ...changes },
    log: silentLog,
  });

  /** What a Python expression is worth: its repr, or its error. */
  const evaluate = (expression: string, program = python): Promise<unknown> => program.ask(expression);
  const value = (repr: string): unknown => ({ value: repr });

  async function uriOf(program: PythonProcess): Promise<string> {
    const answer = await evaluate('str(uri)', program);
    return /PYRO:[^']*/.exec(JSON.stringify(answer))?.[0] ?? '';
  }

  function thing(of = thingURI, changes: Partial<Config> = {}): pyro.AttrProxy<Thing> {
    const proxy = pyro.getAttrProxyForURI<Thing>(of, options(changes));
    proxies.push(proxy);
    return proxy;
  }

  beforeAll(async () => {
    config = loadConfig({ environment: {}, currentDirectory: '/' });
    const script = new URL('peer.py', import.meta.url);
    python = PythonProcess.start(script, []);
    guarded = PythonProcess.start(script, [IDENTIFICATION]);
    thingURI = await uriOf(python);
    guardedURI = await uriOf(guarded);
  });

  afterAll(async () => {
    await Promise.all([python.end(), guarded.end()]);
  });

  beforeEach(async () => {
    daemon = await pyro.Daemon.start({ ...options(), host: '127.0.0.1', port: 0, norange: true });
    server = new Server();
    serverURI = String(await daemon.connect(server, 'server'));
  });

  afterEach(async () => {
    await Promise.all(proxies.splice(0).map((proxy) => proxy._release()));
    await daemon.shutdown();
  });

  describe('Node calls Python', () => {
    test('by position and by name', async () => {
      const proxy = thing();
      expect(await proxy.add(1)).toBe(11);
      expect(await proxy.add(1, 2)).toBe(3);
      expect(await proxy.add(1, pyro.keywords({ second: 5 }))).toBe(6);
      expect(await proxy.given(1, 'two', pyro.keywords({ three: 3 }))).toBe("((1, 'two'), {'three': 3})");
      expect(await Promise.all([1, 2, 3].map((first) => proxy.add(first)))).toEqual([11, 12, 13]);
    });

    test.each([0, 1, 2] satisfies Config['PYRO_PICKLE_FORMAT'][])(
      'with values of any type, in protocol %d',
      async (protocol) => {
        const proxy = thing(thingURI, { PYRO_PICKLE_FORMAT: protocol, PYRO_CHECKSUM: true });
        const given = [null, true, 1, 1.5, new pyro.PythonFloat(2), 2n, 'str', 'unicodé', Buffer.from([0, 255])];
        expect(await proxy.given(...given)).toBe(
          "((None, True, 1, 1.5, 2.0, 2L, 'str', u'unicod\\xe9', '\\x00\\xff'), {})",
        );
        const containers = [[1, [2]], pyro.tuple(1, pyro.tuple()), { a: 1 }, new Set(['x']), new Date(0), undefined];
        expect(await proxy.given(...containers)).toBe(
          "(([1, [2]], (1, ()), {'a': 1}, set(['x']), datetime.datetime(1970, 1, 1, 0, 0), None), {})",
        );
        expect(
          await proxy.evaluated("[None, 1, 2L, 2.5, 3.0, 's', u'u', u'\\xe9', '\\xff', (1,), {2: [3]}, set([4])]"),
        ).toEqual([
          null,
          1,
          2n,
          2.5,
          3,
          's',
          'u',
          'é',
          new Uint8Array([255]),
          pyro.tuple(1),
          new Map([[2, [3]]]),
          new Set([4]),
        ]);
      },
    );

    test('with values that only Python has words for', async () => {
      const proxy = thing();
      for (const expression of ['1+2j', 'datetime.datetime(1999, 2, 3, 4, 5, 6, 789012)', 'Kept(3)', 'OldStyle([1])']) {
        const kept = await proxy.evaluated(expression);
        expect(kept).toBeInstanceOf(pyro.PythonInstance);
        expect(await proxy.same(kept)).toEqual(kept);
      }
      const time = await proxy.evaluated('datetime.datetime(1999, 2, 3, 4, 5, 6, 789012)');
      expect(time instanceof pyro.PythonInstance && pyro.toDate(time)).toEqual(
        new Date(Date.UTC(1999, 1, 3, 4, 5, 6, 789)),
      );
      const cyclic: unknown[] = [];
      cyclic.push(cyclic);
      expect(await proxy.given(cyclic)).toBe('(([[...]],), {})');
      const same = await proxy.same(cyclic);
      expect(Array.isArray(same) && same[0] === same).toBe(true);
    });

    test('and gets its exceptions', async () => {
      const proxy = thing();
      const error = await proxy.fail().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(pyro.RemoteError);
      expect(error).toMatchObject({
        module: 'exceptions',
        className: 'ValueError',
        args: ['no', 1],
        attributes: new Map([['extra', 7]]),
        remoteTraceback: expect.arrayContaining([expect.stringContaining('Traceback')]),
      });
      await expect(proxy.refuse()).rejects.toMatchObject({
        module: '__main__',
        className: 'Refused',
        args: ['no', 1],
        remoteTraceback: expect.arrayContaining([expect.stringContaining('Refused')]),
      });
      await expect(proxy.fail_by_pyro()).rejects.toThrow(new pyro.NamingError('name not found'));
      await expect(proxy._invokePYRO('nothing')).rejects.toMatchObject({ className: 'AttributeError' });
      expect(await proxy.add(1)).toBe(11);
    });

    test('and its attributes', async () => {
      const proxy = thing();
      await proxy._setAttribute('attribute', [1]);
      expect(await proxy.attribute).toEqual([1]);
      await expect(proxy._setAttribute('add', 1)).rejects.toMatchObject({ className: 'AttributeError' });
      await expect(proxy._getAttribute('nothing')).rejects.toMatchObject({ className: 'AttributeError' });
    });

    test('one way', async () => {
      const proxy = thing();
      await proxy._setAttribute('noted', []);
      proxy._setOneway('note');
      await proxy.note(1);
      while (JSON.stringify(await proxy.noted) === '[]') await delay(5);
      expect(await proxy.noted).toEqual([1]);
    });

    test('with large arguments, compressed or not', async () => {
      const large = Buffer.alloc(LARGE, 'large\xff', 'latin1');
      for (const PYRO_COMPRESSION of [false, true]) {
        const proxy = thing(thingURI, { PYRO_COMPRESSION });
        const same = await proxy.same(large);
        expect(same instanceof Uint8Array && large.equals(same)).toBe(true);
      }
    });

    test('in time, or not', async () => {
      const proxy = thing();
      await expect(proxy._with({ timeout: 0.1 }).sleep(0.5)).rejects.toBeInstanceOf(pyro.TimeoutError);
      expect(await proxy._with({ timeout: 5 }).sleep(0.01)).toBe(0.01);
    });

    test('over a connection that gets lost, with its program', async () => {
      const mortal = PythonProcess.start(new URL('peer.py', import.meta.url), []);
      const proxy = thing(await uriOf(mortal));
      await expect(proxy.evaluated("__import__('os')._exit(1)")).rejects.toBeInstanceOf(pyro.ConnectionClosedError);
      await mortal.end();
      await expect(proxy.add(1)).rejects.toBeInstanceOf(pyro.ProtocolError);
    });

    test('by the name at its daemon', async () => {
      const proxy = thing(thingURI.replace('PYRO:', 'PYROLOC:').replace(/[^/]*$/, 'thing'));
      expect(await proxy.add(1)).toBe(11);
      expect(String(proxy.URI)).toBe(thingURI);
      const nobody = thing(thingURI.replace('PYRO:', 'PYROLOC:').replace(/[^/]*$/, 'nobody'));
      await expect(nobody.add(1)).rejects.toThrow(new pyro.NamingError('no object found by this name', 'nobody'));
      await expect(thing(thingURI.replace(/[^/]*$/, 'nobody')).add(1)).rejects.toThrow('unknown object ID');
    });

    test('with an identification', async () => {
      const proxy = thing(guardedURI);
      await expect(proxy.add(1)).rejects.toThrow(new pyro.ConnectionDeniedError('security reasons'));
      proxy._setIdentification(IDENTIFICATION);
      expect(await proxy.add(1)).toBe(11);
    });

    test('and is called back', async () => {
      const proxy = thing();
      expect(await proxy.call_back(server.getProxy(), 1, 'two')).toEqual(['called', 1, 'two']);
      expect(await proxy.call_back(server.getAttrProxy(), 1)).toEqual(['called', 1]);
    });

    test('and passes proxies, without the identification', async () => {
      const proxy = thing();
      const passed = thing(guardedURI);
      passed._setIdentification(IDENTIFICATION);
      passed._setTimeout(7);
      passed._setOneway('note');
      expect([...(await proxy.about(passed))]).toEqual(['DynamicProxyWithAttrs', guardedURI, '', 7, ['note']]);
      expect([...(await proxy.about(pyro.getProxyForURI(thingURI, options())))]).toEqual([
        'DynamicProxy',
        thingURI,
        '',
        null,
        [],
      ]);
      expect(await proxy.given(passed.URI)).toContain(`<PyroURI '${guardedURI}'>`);
      const [plain, attributes, uri] = await proxy.proxies();
      if (!(plain instanceof pyro.DynamicProxy) || !(attributes instanceof pyro.DynamicProxyWithAttrs)) {
        throw new Error('no proxies');
      }
      proxies.push(plain, attributes);
      expect(await plain._invokePYRO('add', 1)).toBe(11);
      expect(await attributes._getAttribute('objectGUID')).toBe(plain.objectID);
      expect(uri instanceof pyro.PyroURI && String(uri)).toBe(thingURI);
    });
  });

  describe('Python calls Node', () => {
    /** What a call of the Node program's object is worth. */
    const call = (method: string, args = '', of = serverURI): Promise<unknown> =>
      evaluate(`keeping('${of}').${method}(${args})`);

    test('by position and by name', async () => {
      expect(await call('add', '1')).toEqual(value('11'));
      expect(await call('add', '1, 2')).toEqual(value('3'));
      expect(await call('add', '1, second=5')).toEqual(value('6'));
    });

    test.each([0, 1, 2])('with values of any type, in protocol %d', async (protocol) => {
      await evaluate(`setting(PYRO_PICKLE_FORMAT=${protocol}, PYRO_CHECKSUM=1)`);
      const same = "[None, True, 1, 2L**70, 1.5, 'str', u'unicod\\xe9', '\\x00\\xff', (1, ()), {'a': [2]}, set(['x'])]";
      expect(await evaluate(`keeping('${serverURI}').same(${same}) == ${same}`)).toEqual(value('True'));
      await evaluate('setting(PYRO_PICKLE_FORMAT=2, PYRO_CHECKSUM=0)');
    });

    test('with values that only Python has words for', async () => {
      for (const expression of [
        '1+2j',
        'datetime.datetime(1999, 2, 3, 4, 5, 6, 789012)',
        'datetime.date(1999, 2, 3)',
        'frozenset([1, (2, 3)])',
        'Kept([1, u"\\xe9"])',
        'OldStyle(Kept(1))',
        'Kept',
        '1e300',
        'range(2000)',
      ]) {
        const same = `keeping('${serverURI}').same(${expression})`;
        expect(
          await evaluate(`(lambda value, same: type(value) is type(same) and value == same)(${expression}, ${same})`),
        ).toEqual(value('True'));
      }
      expect(await evaluate(`keeping('${serverURI}').same(cycle())`)).toEqual(value("{'list': [{...}]}"));
    });

    test('and gets its exceptions', async () => {
      expect(await call('refuse')).toEqual({ error: '__main__.Refused', args: "('no', 1)", trace: 1 });
      expect(await call('fail')).toEqual({ error: 'exceptions.KeyError', args: "('no', 1)", trace: 1 });
      const naming = { error: 'Pyro.errors.NamingError', args: "('name not found', ':x')", trace: 1 };
      expect(await call('failByPyro')).toEqual(naming);
      expect(await call('failAnyhow')).toEqual({ error: 'exceptions.Exception', args: "('a failure',)", trace: 1 });
      expect(await call('nothing')).toMatchObject({ error: 'exceptions.AttributeError' });
      expect(await call('setGUID', "'x'")).toMatchObject({ error: 'exceptions.AttributeError' });
      expect(await call('add', '1')).toEqual(value('11'));
    });

    test('and its attributes', async () => {
      expect(await evaluate(`proxy('${serverURI}', attributes=True).attribute`)).toEqual(value('5'));
      expect(await evaluate(`assign(proxy('${serverURI}', attributes=True), 'attribute', 7)`)).toEqual(value('7'));
      expect(server.attribute).toBe(7);
      expect(await evaluate(`proxy('${serverURI}', attributes=True).add(1)`)).toEqual(value('11'));
    });

    test('one way', async () => {
      expect(await evaluate(`proxy('${serverURI}', oneway=['note']).note(1)`)).toEqual(value('None'));
      while (server.noted.length === 0) await delay(5);
    });

    test('with large arguments, compressed or not', async () => {
      for (const compression of [0, 1]) {
        await evaluate(`setting(PYRO_COMPRESSION=${compression})`);
        const same = `keeping('${serverURI}').same('large\\xff' * ${LARGE / 10}) == 'large\\xff' * ${LARGE / 10}`;
        expect(await evaluate(same)).toEqual(value('True'));
      }
      await evaluate('setting(PYRO_COMPRESSION=0)');
    });

    test('in time, or not', async () => {
      expect(await evaluate(`proxy('${serverURI}', timeout=0.1).sleep(0.5)`)).toMatchObject({
        error: 'Pyro.errors.TimeoutError',
      });
      expect(await call('sleep', '0.01')).toEqual(value('0.01'));
    });

    test('by the name at its daemon', async () => {
      expect(await call('add', '1', `PYROLOC://127.0.0.1:${daemon.port}/server`)).toEqual(value('11'));
      expect(await call('add', '1', `PYROLOC://127.0.0.1:${daemon.port}/nobody`)).toMatchObject({
        error: 'Pyro.errors.NamingError',
      });
      expect(await call('add', '1', `PYRO://127.0.0.1:${daemon.port}/nobody`)).toMatchObject({
        error: 'Pyro.errors.ProtocolError',
        args: "('unknown object ID',)",
      });
    });

    test('with an identification', async () => {
      daemon.setAllowedIdentifications([IDENTIFICATION]);
      expect(await evaluate(`proxy('${serverURI}').add(1)`)).toMatchObject({
        error: 'Pyro.errors.ConnectionDeniedError',
        args: "('security reasons',)",
      });
      expect(await evaluate(`proxy('${serverURI}', '${IDENTIFICATION}').add(1)`)).toEqual(value('11'));
    });

    test('and is called back', async () => {
      expect(await call('callBack', "thing.getProxy(), 1, 'two'")).toEqual(value("('called', (1, 'two'))"));
      expect(await call('callBack', 'thing.getAttrProxy()')).toEqual(value("('called', ())"));
    });

    test('and gets proxies and URIs', async () => {
      const made = `keeping('${serverURI}').proxies()`;
      expect(await evaluate(`[each.__class__.__name__ for each in ${made}]`)).toEqual(
        value("['DynamicProxy', 'DynamicProxyWithAttrs', 'PyroURI']"),
      );
      expect(await evaluate(`${made}[0].add(1), ${made}[1].attribute, str(${made}[2])`)).toEqual(
        value(`(11, 5, '${serverURI}')`),
      );
    });

    test('and survives its restart', async () => {
      expect(await call('add', '1')).toEqual(value('11'));
      const { port } = daemon;
      await daemon.shutdown();
      expect(await call('add', '1')).toMatchObject({ error: 'Pyro.errors.ConnectionClosedError' });
      daemon = await pyro.Daemon.start({ ...options(), host: '127.0.0.1', port, norange: true });
      await daemon.connect(server);
      expect(await evaluate(`keeping('${serverURI}').adapter.rebindURI(3, 0.1)`)).toEqual(value('None'));
      expect(await call('add', '1')).toEqual(value('11'));
    });
  });
});
