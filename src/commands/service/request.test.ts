import { describe, expect, it } from '@jest/globals';
import { databaseDirectory, serverOptions } from './request.js';
import type { ServiceRequest } from './request.js';
import { UsageError } from '../cli.js';

const install = (options?: readonly string[]): ServiceRequest => ({ action: 'install', user: false, options });

describe('the options of the server', () => {
  it('are -d where none are given, and always -k', () => {
    expect(serverOptions(install())).toEqual(['-d', '-k']);
    expect(serverOptions(install([]))).toEqual(['-k']);
    expect(serverOptions(install(['-k', '-d', '/srv/pyro']))).toEqual(['-k', '-d', '/srv/pyro']);
    expect(serverOptions(install(['-nmilos', '-d']))).toEqual(['-nmilos', '-d', '-k']);
  });

  it.each([[['-i', 'x']], [['-ix']], [['-xi', 'x']], [['-d', '--identification=x']], [['-n', 'a\nUser=root']]])(
    'must not be %j',
    (options) => {
      expect(() => serverOptions(install(options))).toThrow(UsageError);
    },
  );
});

it.each([
  [['-d', '/srv/pyro'], '/srv/pyro'],
  [['-n', 'host', '-d/srv/pyro', '-x'], '/srv/pyro'],
  [['-xd', '/srv/pyro'], '/srv/pyro'],
  [['-rx', '--database', '/srv/pyro'], '/srv/pyro'],
  [['--database=/srv/pyro'], '/srv/pyro'],
  [['-d', '-x'], undefined],
  [['-x', '-d'], undefined],
  [['-nd', '/srv/pyro'], undefined],
  [['-x'], undefined],
])('finds the database directory in %j', (options, directory) => {
  expect(databaseDirectory(options)).toBe(directory);
});
