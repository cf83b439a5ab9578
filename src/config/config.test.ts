import { chmodSync, lchownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ConfigError } from '../errors.js';
import { defaultConfig, loadConfig, misspeltVariables, readIdentification } from './config.js';
import { CONFIG_ITEMS, ITEM_NAMES, type ConfigItemName } from './items.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pyro-config-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const load = (environment: Record<string, string> = {}) => loadConfig({ environment, currentDirectory: directory });

const loadText = (text: string, environment: Record<string, string> = {}) => {
  writeFileSync(join(directory, 'Pyro.conf'), text);
  return load(environment);
};

const byteOrderMarks: readonly [name: string, encode: (text: string) => Buffer][] = [
  ['UTF-8', (text) => Buffer.from(`\ufeff${text}`)],
  ['UTF-16', (text) => Buffer.from(`\ufeff${text}`, 'utf16le')],
  ['UTF-16, high bytes first', (text) => Buffer.from(`\ufeff${text}`, 'utf16le').swap16()],
];

const errorOf = (action: () => void): unknown => {
  try {
    action();
    return undefined;
  } catch (error) {
    return error;
  }
};

describe('without file and environment', () => {
  it('has the defaults of Pyro 3', () => {
    expect(load()).toMatchObject({
      PYRO_CONFIG_FILE: undefined,
      PYRO_STORAGE: directory,
      PYRO_HOST: '',
      PYRO_PUBLISHHOST: undefined,
      PYRO_PORT: 7766,
      PYRO_PORT_RANGE: 100,
      PYRO_NS_HOSTNAME: undefined,
      PYRO_NS_PORT: 9090,
      PYRO_NS_BC_PORT: 9090,
      PYRO_NS2_PORT: 9091,
      PYRO_NS2_BC_PORT: 9091,
      PYRO_NS_URIFILE: join(directory, 'Pyro_NS_URI'),
      PYRO_NS_DEFAULTGROUP: ':Default',
      PYRO_BC_RETRIES: 1,
      PYRO_BC_TIMEOUT: 0.75,
      PYRO_PICKLE_FORMAT: 2,
      PYRO_TRACELEVEL: 0,
      PYRO_LOGFILE: join(directory, 'Pyro_log'),
      PYRO_USER_LOGFILE: join(directory, 'Pyro_userlog'),
      PYRO_STDLOGGING: false,
      PYRO_MAXCONNECTIONS: 200,
      PYRO_SOCK_KEEPALIVE: true,
      PYROSSL_CERTDIR: join(directory, 'certs'),
      PYROSSL_CERT: 'host.pem',
      PYROSSL_KEY: undefined,
      PYRO_NS_SYNC: true,
      PYRO_NS_WATCH: 'auto',
    });
  });

  it('has a value for each item, and nothing else', () => {
    expect(Object.keys(load())).toEqual(ITEM_NAMES);
  });

  it('takes no directory for the file', () => {
    mkdirSync(join(directory, 'Pyro.conf'));
    expect(load().PYRO_CONFIG_FILE).toBeUndefined();
  });
});

describe('the file', () => {
  it('is Pyro.conf in the current directory', () => {
    const config = loadText('PYRO_NS_PORT = 4000\n');
    expect(config.PYRO_NS_PORT).toBe(4000);
    expect(config.PYRO_CONFIG_FILE).toBe(join(directory, 'Pyro.conf'));
  });

  it('is the one that PYRO_CONFIG_FILE names, or the one given', () => {
    writeFileSync(join(directory, 'other'), 'PYRO_NS_PORT=1');
    writeFileSync(join(directory, 'third'), 'PYRO_NS_PORT=2');
    const environment = { PYRO_CONFIG_FILE: 'other' };
    expect(loadText('PYRO_NS_PORT=3', environment).PYRO_NS_PORT).toBe(1);
    expect(loadConfig({ file: 'third', environment, currentDirectory: directory })).toMatchObject({
      PYRO_NS_PORT: 2,
      PYRO_CONFIG_FILE: join(directory, 'third'),
    });
  });

  it('must be there if it is named', () => {
    expect(() => load({ PYRO_CONFIG_FILE: 'none' })).toThrow("the configuration file none can't be read: ENOENT");
  });

  it.each([
    ['# comment\n\n   \nPYRO_NS_PORT\t=\t4000 # the first word counts\r\n', 4000],
    ['PYRO_NS_PORT=4000', 4000],
    ['PYRO_NS_PORT=+04000', 4000],
    ['PYRO_NS_PORT =\n', 9090],
    ['PYRO_NS_PORT\v\f=\f\v4000\v\f\r', 4000],
    ['PYRO_NS_PORT=4000\vthe first word counts', 4000],
    ['PYRO_NS_PORT = 1\nPYRO_NS_PORT = 2\nPYRO_NS_PORT =', 2],
  ])('is read as by Pyro 3: %j', (text, port) => {
    expect(loadText(text).PYRO_NS_PORT).toBe(port);
  });

  it.each([
    ['\n\nPYRO_NS_PORT = abc', "Pyro.conf line 3: PYRO_NS_PORT must be a port number from 0 to 65535, not 'abc'"],
    ['PYRO_NS_PORT = 65536', "Pyro.conf line 1: PYRO_NS_PORT must be a port number from 0 to 65535, not '65536'"],
    ['PYRO_PORT_RANGE=0', "Pyro.conf line 1: PYRO_PORT_RANGE must be a whole number from 1 to 65536, not '0'"],
    [
      'PYRO_MAXCONNECTIONS=1.5',
      "Pyro.conf line 1: PYRO_MAXCONNECTIONS must be a whole number of at least 1, not '1.5'",
    ],
    ['PYRO_BC_RETRIES=x', "Pyro.conf line 1: PYRO_BC_RETRIES must be a whole number, not 'x'"],
    ['PYRO_TRACELEVEL=4', "Pyro.conf line 1: PYRO_TRACELEVEL must be a level from 0 to 3, not '4'"],
    ['PYRO_CHECKSUM=yes', "Pyro.conf line 1: PYRO_CHECKSUM must be 0 or 1, not 'yes'"],
    ['PYRO_NS_WATCH=no', "Pyro.conf line 1: PYRO_NS_WATCH must be auto or native or polling, not 'no'"],
    [
      'PYRO_STORAGE=$STORAGE/x',
      "Pyro.conf line 1: PYRO_STORAGE must be a directory that does not refer to itself, not '$STORAGE/x'",
    ],
    [
      'PYRO_NS_DEFAULTGROUP=x',
      "Pyro.conf line 1: PYRO_NS_DEFAULTGROUP must be an absolute name such as :Default, not 'x'",
    ],
    ['PYRO_PICKLE_FORMAT=3', "Pyro.conf line 1: PYRO_PICKLE_FORMAT must be 0, 1 or 2, not '3'"],
    [
      `PYRO_NS_READ=${'x'.repeat(81)}`,
      `Pyro.conf line 1: PYRO_NS_READ must be cached or linearizable, not '${'x'.repeat(80)}... (81 characters)'`,
    ],
    [`${'x'.repeat(81)}=1`, `Pyro.conf line 1: unknown configuration item ${'x'.repeat(80)}... (81 characters)`],
    ['PYRO_LOGFILE=a\u0000b', "Pyro.conf line 1: PYRO_LOGFILE must not hold control characters, not 'a\\x00b'"],
    ['PYRO_NS_PROT=1', 'Pyro.conf line 1: unknown configuration item PYRO_NS_PROT, did you mean PYRO_NS_PORT?'],
    ['pyro_ns_port=1', 'Pyro.conf line 1: unknown configuration item pyro_ns_port, did you mean PYRO_NS_PORT?'],
    ['SOMETHING_ELSE=1', 'Pyro.conf line 1: unknown configuration item SOMETHING_ELSE'],
    ['PYRO_CONFIG_FILE=x', 'Pyro.conf line 1: PYRO_CONFIG_FILE can only be set in the environment'],
    ['PYRO_NS_PORT 1', 'Pyro.conf line 1: must be NAME = value, or a comment that begins with #'],
    [' PYRO_NS_PORT = 1', 'Pyro.conf line 1: must be NAME = value, or a comment that begins with #'],
  ])('says what is wrong with %j', (text, message) => {
    expect(() => loadText(text)).toThrow(ConfigError);
    expect(() => loadText(text)).toThrow(new ConfigError(message));
  });

  it('never shows a passphrase, nor takes half of one', () => {
    expect(() => loadText('PYRO_NS_IDENTIFICATION = open sesame')).toThrow(
      /^(?!.*(open|sesame)).* PYRO_NS_IDENTIFICATION must be one word/,
    );
    expect(() => loadText('', { PYRO_NS_IDENTIFICATION: 'open\u0007' })).toThrow(/^(?!.*open).*control characters$/);
  });

  it('takes a passphrase of one word, whatever white space follows it', () => {
    expect(loadText('PYRO_NS_IDENTIFICATION = sesame \t\r\n').PYRO_NS_IDENTIFICATION).toBe('sesame');
  });

  it('is named where its own name is wrong', () => {
    writeFileSync(join(directory, 'a\u0001b'), '');
    expect(() => load({ PYRO_CONFIG_FILE: 'a\u0001b' })).toThrow(
      new ConfigError("PYRO_CONFIG_FILE must not hold control characters, not 'a\\x01b'"),
    );
  });

  it('accepts what is about Python, whatever it says', () => {
    const text = 'PYRO_XML_PICKLE = gnosis\nPYRO_MULTITHREADED = maybe\nPYRO_GNOSIS_PARANOIA = -1';
    expect(loadText(text).PYRO_XML_PICKLE).toBe('gnosis');
  });
});

describe('a misspelt variable', () => {
  it.each([
    ['PYRO_NS_SNYC', 'PYRO_NS_SYNC'],
    ['PYRO_STORGE', 'PYRO_STORAGE'],
    ['PYRO_TRACE_LEVEL', 'PYRO_TRACELEVEL'],
    ['PYRO_SSL_CERT', 'PYROSSL_CERT'],
    ['PYRO_NS_PORE', 'PYRO_NS_PORT'],
  ])('is told: %s', (name, item) => {
    expect(misspeltVariables({ PATH: 'x', [name]: 'sesame', PYRO_NS_PORT: '1' })).toEqual([
      `environment: unknown configuration item ${name}, did you mean ${item}?`,
    ]);
  });

  // Of whoever installs Pyro, of Pyro 4 and 5, and of Kubernetes.
  it.each([
    ['PYRO_HOME', 'PYRO_ROOT', 'PYRO3_HOME', 'PYRO_ES_QUEUESIZE'],
    ['PYRO_NS_HOST', 'PYRO_NS_BCHOST', 'PYRO_NS_BCPORT', 'PYRO_NATHOST', 'PYRO_LOGWIRE', 'PYRO_LOGLEVEL'],
    // The letters of PYRO_NS_SYNC, but too many of them elsewhere.
    ['PYRO_NS_NCSY'],
    ['PYRO_NS_SERVICE_HOST', 'PYRO_NS_PORT_9090_TCP', 'PYRO', 'TYRO_PORT', 'pyro_port'],
  ])('is not what others have: %s, %s, ...', (...names) => {
    expect(misspeltVariables(Object.fromEntries(names.map((name) => [name, 'x'])))).toEqual([]);
  });
});

describe('the configuration of this process', () => {
  it('is read from its environment and directory, once', () => {
    const config = defaultConfig();
    expect(config).toEqual(loadConfig({ environment: process.env, currentDirectory: process.cwd() }));
    expect(defaultConfig()).toBe(config);
  });
});

describe('a number', () => {
  const HUGE = 999_999_999_999_999;
  const BYTES = [1024, 2 ** 31 - 1] as const;

  // The least and the most that an item may be; a sixteenth digit is none that a float keeps exactly.
  const BOUNDS: Partial<Record<ConfigItemName, readonly [lowest: number, highest: number]>> = {
    PYRO_PORT: [0, 65535],
    PYRO_PORT_RANGE: [1, 65536],
    PYRO_NS_PORT: [0, 65535],
    PYRO_NS_BC_PORT: [0, 65535],
    PYRO_NS2_PORT: [0, 65535],
    PYRO_NS2_BC_PORT: [0, 65535],
    PYRO_BC_RETRIES: [-HUGE, HUGE],
    PYRO_BC_TIMEOUT: [-Number.MAX_VALUE, 2_147_483],
    PYRO_TRACELEVEL: [0, 3],
    PYRO_USER_TRACELEVEL: [0, 3],
    PYRO_MAXCONNECTIONS: [1, HUGE],
    PYRO_TCP_LISTEN_BACKLOG: [1, HUGE],
    PYRO_NS_CACHE_NAMES: [1, HUGE],
    PYRO_NS_ETCD_TIMEOUT: [1, 2_147_483],
    PYRO_NS_ETCD_STALE_SECONDS: [0, 2_147_483],
    PYRO_NS_AUTOCLEAN: [0, 2_147_483],
    PYRO_NS_AUTOCLEAN_FAILURES: [1, HUGE],
    PYRO_NS_AUTOCLEAN_SECONDS: [0, 2_147_483],
    PYRO_NS_AUTOCLEAN_UNREACHABLE: [0, 2_147_483],
    PYRO_NS_BC_RATE: [1, HUGE],
    PYRO_MAXCONNECTIONS_PER_HOST: [0, HUGE],
    PYRO_MAX_HANDSHAKES: [0, HUGE],
    PYRO_DENIAL_DELAY: [0, 2_147_483],
    PYRO_NS_MAX_NAMES: [1, HUGE],
    PYRO_NS_MAX_META_SIZE: BYTES,
    PYRO_NS_MAX_TOTAL_SIZE: BYTES,
    PYRO_DNS_TIMEOUT: [0.1, 2_147_483],
    PYRO_MAX_LOOKUPS: [1, HUGE],
    PYRO_HANDSHAKE_TIMEOUT: [0.1, 2_147_483],
    PYRO_STALL_TIMEOUT: [0.1, 2_147_483],
    PYRO_IDLE_TIMEOUT: [0, 2_147_483],
    PYRO_MAX_MESSAGE_SIZE: BYTES,
    PYRO_MAX_INFLATED_SIZE: BYTES,
    PYRO_NS_MAX_MESSAGE_SIZE: BYTES,
    PYRO_MAX_INCOMING_SIZE: BYTES,
    PYRO_NS_MAX_INCOMING_SIZE: BYTES,
    PYRO_NS_MAX_LISTS_SIZE: BYTES,
    PYRO_NS_TWIN_QUEUE: [1, HUGE],
    PYRO_MAX_PICKLE_DEPTH: [10, 10_000],
    PYRO_MAX_PICKLE_OBJECTS: [1, HUGE],
    PYRO_NS_MAX_PICKLE_OBJECTS: [1, HUGE],
    PYRO_MAX_ONEWAY_CALLS: [1, HUGE],
    PYRO_MAX_UNSENT_SIZE: BYTES,
  };
  const rows = ITEM_NAMES.flatMap((name) => {
    const [lowest, highest] = BOUNDS[name] ?? [];
    return lowest === undefined || highest === undefined ? [] : [{ name, lowest, highest }];
  });

  it.each(rows)('is taken at the bounds, and refused beyond: $name', ({ name, lowest, highest }) => {
    const step = CONFIG_ITEMS[name].kind.type === 'seconds' ? 0.001 : 1;
    for (const bound of [lowest, highest]) expect(load({ [name]: String(bound) })[name]).toBe(bound);
    for (const beyond of [lowest - step, highest + step]) {
      if (beyond === lowest) continue;
      expect(() => load({ [name]: String(beyond) })).toThrow(new RegExp(`^environment: ${name} must be .*, not '`));
    }
  });

  it('has its bounds here, whichever item it is', () => {
    const numbers = ITEM_NAMES.filter((name) => typeof load()[name] === 'number' && name !== 'PYRO_PICKLE_FORMAT');
    expect(Object.keys(BOUNDS).sort()).toEqual(numbers.sort());
  });

  it.each(['', ' 1', '1 ', '0x1', '1e', '1_000', '--1', '1.', '.5', '.', '1e2', 'Infinity', 'NaN'])(
    'is written in decimal: %j',
    (text) => {
      const valueOf = (name: ConfigItemName): unknown => {
        try {
          return CONFIG_ITEMS[name].kind.parse(text, { currentDirectory: directory, storage: directory });
        } catch (error) {
          return error instanceof ConfigError ? 'refused' : error;
        }
      };
      const decimals: Record<string, number> = { '1.': 1, '.5': 0.5, '1e2': 100 };
      expect(valueOf('PYRO_NS_AUTOCLEAN')).toBe(decimals[text] ?? 'refused');
      expect(valueOf('PYRO_MAXCONNECTIONS')).toBe('refused');
    },
  );
});

describe('the environment', () => {
  it('comes before the file, unless a variable is empty', () => {
    const environment = { PYRO_NS_PORT: '1', PYRO_PORT: '', PATH: 'x', PYRO_UNKNOWN: 'x' };
    expect(loadText('PYRO_NS_PORT=2\nPYRO_PORT=3', environment)).toMatchObject({ PYRO_NS_PORT: 1, PYRO_PORT: 3 });
  });

  it('may have spaces in its values', () => {
    const config = load({ PYRO_STORAGE: '/a b', PYRO_NS_IDENTIFICATION: 'open sesame' });
    expect(config.PYRO_STORAGE).toBe(resolve('/a b'));
    expect(config.PYRO_NS_IDENTIFICATION).toBe('open sesame');
  });

  it('is named where it is wrong', () => {
    expect(() => load({ PYRO_BC_TIMEOUT: 'nan' })).toThrow(
      "environment: PYRO_BC_TIMEOUT must be a number of seconds up to 2147483, not 'nan'",
    );
  });
});

describe('paths', () => {
  it('are made absolute, with $CURDIR and $STORAGE', () => {
    const config = loadText(
      'PYRO_STORAGE=$CURDIR/var\nPYRO_LOGFILE=log\nPYRO_NS_URIFILE=$STORAGE/uri\nPYROSSL_CERTDIR=/certs\nPYROSSL_CA_CERT=$STORAGE/ca',
    );
    expect(config).toMatchObject({
      PYRO_STORAGE: join(directory, 'var'),
      PYRO_LOGFILE: join(directory, 'log'),
      PYRO_USER_LOGFILE: join(directory, 'var', 'Pyro_userlog'),
      PYRO_NS_URIFILE: join(directory, 'var', 'uri'),
      PYROSSL_CERTDIR: resolve('/certs'),
      PYROSSL_CA_CERT: join(directory, 'var', 'ca'),
    });
  });
});

describe('the file in the current directory', () => {
  const loadWarned = (environment: Record<string, string> = {}) => {
    const warnings: string[] = [];
    const warn = (warning: string) => warnings.push(warning);
    const { PYRO_NS_PORT: port } = loadConfig({ environment, currentDirectory: directory, warn });
    return { port, warnings };
  };
  const path = () => join(directory, 'Pyro.conf');
  const isRoot = process.geteuid?.() === 0;
  beforeEach(() => {
    writeFileSync(path(), 'PYRO_NS_PORT = 1234');
  });

  it.each([0o644, 0o600, 0o400, 0o755])('is read where only its owner can write to it: %o', (mode) => {
    chmodSync(path(), mode);
    expect(loadWarned()).toEqual({ port: 1234, warnings: [] });
  });

  it.each([0o664, 0o646, 0o666, 0o622])('is not read where others can write to it, with a warning: %o', (mode) => {
    chmodSync(path(), mode);
    const hint = `to use it all the same, set PYRO_CONFIG_FILE=${path()}`;
    expect(loadWarned()).toEqual({
      port: 9090,
      warnings: [`${path()} is not read, because others than its owner can write to it; ${hint}`],
    });
    expect(loadWarned({ PYRO_CONFIG_FILE: path() })).toEqual({ port: 1234, warnings: [] });
  });

  it('is read through a link of ours', () => {
    writeFileSync(join(directory, 'other'), 'PYRO_NS_PORT = 4321');
    rmSync(path());
    symlinkSync('other', path());
    expect(loadWarned()).toEqual({ port: 4321, warnings: [] });
  });

  (isRoot ? it : it.skip).each(['the file', 'a link to ours'])("is not read where it is another user's: %s", (what) => {
    if (what === 'a link to ours') {
      writeFileSync(join(directory, 'other'), 'PYRO_NS_PORT = 4321');
      rmSync(path());
      symlinkSync('other', path());
    }
    lchownSync(path(), 4242, 4242);
    expect(loadWarned()).toEqual({
      port: 9090,
      warnings: [expect.stringContaining(`${path()} is not read, because it belongs to another user; to use it`)],
    });
    expect(loadWarned({ PYRO_CONFIG_FILE: 'Pyro.conf' }).warnings).toEqual([]);
  });

  it.each(byteOrderMarks)('may begin with a byte order mark: %s', (_, encode) => {
    for (const text of ['# a comment\r\nPYRO_NS_PORT = 77\r\n', 'PYRO_NS_PORT=77']) {
      writeFileSync(path(), encode(text));
      expect(loadWarned()).toEqual({ port: 77, warnings: [] });
    }
  });
});

describe('the identification', () => {
  it.each(byteOrderMarks)('is what stands behind a byte order mark: %s', (_, encode) => {
    writeFileSync(join(directory, 'secret'), encode('naïve word\r\nmore'), { mode: 0o600 });
    expect(readIdentification(load({ PYRO_NS_IDENTIFICATION_FILE: 'secret' }))).toBe('naïve word');
  });

  it.each([
    [0o600, 0],
    [0o640, 0],
    [0o644, 1],
    [0o604, 1],
  ])('comes with a warning where every user may read the file: %o', (mode, count) => {
    writeFileSync(join(directory, 'secret'), 'word', { mode });
    chmodSync(join(directory, 'secret'), mode);
    const warnings: string[] = [];
    const warn = (warning: string): void => void warnings.push(warning);
    expect(readIdentification(load({ PYRO_NS_IDENTIFICATION_FILE: 'secret' }), warn)).toBe('word');
    const path = join(directory, 'secret');
    const expected = `PYRO_NS_IDENTIFICATION_FILE ${path} can be read by every user of this machine: take that permission away (chmod o-r)`;
    expect(warnings).toEqual(count === 1 ? [expected] : []);
  });

  it('is the passphrase, else the first line of the file, else nothing', () => {
    writeFileSync(join(directory, 'secret'), 'from the file\r\nmore\n', { mode: 0o600 });
    const file = { PYRO_NS_IDENTIFICATION_FILE: 'secret' };
    expect(readIdentification(load())).toBeUndefined();
    expect(readIdentification(load(file))).toBe('from the file');
    expect(readIdentification(load({ ...file, PYRO_NS_IDENTIFICATION: 'itself' }))).toBe('itself');
  });

  it('must be in the file that is named', () => {
    const config = load({ PYRO_NS_IDENTIFICATION_FILE: 'secret' });
    expect(() => readIdentification(config)).toThrow(/secret can't be read: ENOENT/);
    writeFileSync(join(directory, 'secret'), '\nsecond', { mode: 0o600 });
    expect(() => readIdentification(config)).toThrow(/must have a passphrase on its first line/);
  });
});

describe('whatever is in the file', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc
      .tuple(fc.constantFrom(...ITEM_NAMES), fc.oneof(fc.string({ unit: 'binary' }), fc.double().map(String)))
      .map(([name, value]) => `${name}=${value}`),
  );

  it('throws nothing but ConfigError', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 4 }), (lines) => {
        const error = errorOf(() => loadText(lines.join('\n')));
        expect(error === undefined || error instanceof ConfigError).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('reads each number back', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 65535 }),
        fc.double({ min: -1e6, max: 2e6, noNaN: true }),
        (port, seconds) => {
          const config = load({ PYRO_NS_PORT: String(port), PYRO_BC_TIMEOUT: String(seconds) });
          expect([config.PYRO_NS_PORT, config.PYRO_BC_TIMEOUT]).toEqual([port, Number(String(seconds))]);
        },
      ),
    );
  });
});

it('has a default for each item that its own kind accepts', () => {
  const places = { currentDirectory: directory, storage: directory };
  for (const name of ITEM_NAMES) {
    const { kind, defaultText } = CONFIG_ITEMS[name];
    expect(() => kind.parse(defaultText, places)).not.toThrow();
  }
});
