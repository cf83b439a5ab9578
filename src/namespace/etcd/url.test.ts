import { describe, expect, it } from '@jest/globals';
import { ConfigError } from '../../errors.js';
import { isEtcdURL, parseEtcdURL } from './url.js';

describe('an etcd URL', () => {
  it.each([
    ['etcd://host/pyro', ['host:2379'], '/pyro'],
    ['etcd://host:1234/pyro/', ['host:1234'], '/pyro'],
    ['etcd://a,b:1,10.0.0.1/team/pyro', ['a:2379', 'b:1', '10.0.0.1:2379'], '/team/pyro'],
    ['etcd://[::1]:2379,[fe80::1]/p', ['[::1]:2379', '[fe80::1]:2379'], '/p'],
    ['etcd://host/0', ['host:2379'], '/0'],
  ])('%s is read', (text, endpoints, prefix) => {
    expect(isEtcdURL(text)).toBe(true);
    expect(parseEtcdURL(text)).toEqual({ endpoints, prefix });
  });

  it.each([
    'etcd://',
    'etcd://host',
    'etcd://host/',
    'etcd:///pyro',
    'etcd://host:/pyro',
    'etcd://host:70000/pyro',
    'etcd://host,/pyro',
    'etcd://user:secret@host/pyro',
    'etcd://user@host/pyro',
    'etcd://::1/pyro',
    'etcd://host/with space',
  ])('%s is refused', (text) => {
    expect(isEtcdURL(text)).toBe(true);
    expect(() => parseEtcdURL(text)).toThrow(ConfigError);
  });

  it.each(['', 'Pyro_NS_database', '/srv/etcd:', 'http://host/pyro'])('%j is none', (text) => {
    expect(isEtcdURL(text)).toBe(false);
  });
});
