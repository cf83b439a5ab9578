import { once } from 'node:events';
import { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadConfig, type Config } from '../config/index.js';
import { ServerConnection } from '../wire/index.js';
import { Admission } from './admission.js';
import { isFull } from './validators.js';

let config: Config;
let admission: Admission;
let port: number;
const opened: Socket[] = [];

/** A socket that says where its peer is. */
function socketFrom(host: string): Socket {
  const socket = new Socket();
  port += 1;
  Object.defineProperties(socket, { remoteAddress: { value: host }, remotePort: { value: port } });
  opened.push(socket);
  return socket;
}

/** So many connections of a host that have come, and are not let in. */
const wait = (host: string, count: number): Socket[] =>
  Array.from({ length: count }, () => {
    const socket = socketFrom(host);
    admission.add(socket);
    return socket;
  });

/** So many connections of a host that are let in, unless there is no room. */
const enter = (host: string, count: number): ServerConnection[] =>
  wait(host, count).flatMap((socket) => {
    const connection = new ServerConnection(socket);
    if (isFull(admission.countsWith(connection))) return [];
    admission.admit(connection);
    return [connection];
  });

const closed = (sockets: readonly Socket[]): boolean[] => sockets.map(({ destroyed }) => destroyed);

beforeEach(() => {
  config = loadConfig({ environment: { PYRO_MAXCONNECTIONS: '8' }, currentDirectory: '/' });
  admission = new Admission(config);
  port = 0;
});

afterEach(() => {
  for (const socket of opened.splice(0)) socket.destroy();
});

describe('connections that are let in', () => {
  test('leave a reserve for other hosts, whichever has come first', () => {
    expect(enter('10.0.0.1', 200)).toHaveLength(6);
    expect(enter('10.0.0.2', 200)).toHaveLength(2);
    expect(enter('10.0.0.3', 1)).toHaveLength(0);
  });

  test('make room for others when they are closed', async () => {
    const [first] = enter('10.0.0.1', 6);
    expect(enter('10.0.0.1', 1)).toHaveLength(0);
    first?.socket.destroy();
    await first?.closed;
    expect(enter('10.0.0.1', 2)).toHaveLength(1);
  });

  test.each([
    [1, 0, 1],
    [3, 0, 3],
    [4, 0, 3],
    [200, 0, 150],
    [8, 8, 8],
    [8, 2, 2],
  ])('of %d at most, with PYRO_MAXCONNECTIONS_PER_HOST %d, are %d of one host', (most, perHost, expected) => {
    config.PYRO_MAXCONNECTIONS = most;
    config.PYRO_MAXCONNECTIONS_PER_HOST = perHost;
    expect(enter('10.0.0.1', most + 1)).toHaveLength(expected);
  });
});

describe('connections that are not let in yet', () => {
  test('take no place from others', () => {
    wait('10.0.0.1', 200);
    expect(enter('10.0.0.1', 1)).toHaveLength(1);
    expect(enter('10.0.0.2', 2)).toHaveLength(2);
  });

  test('are closed, the longest waiting of the host with the most, when there are too many', () => {
    const others = wait('10.0.0.2', 2);
    const many = wait('10.0.0.1', 4);
    expect([closed(others), closed(many)]).toEqual([
      [false, false],
      [false, false, false, false],
    ]);
    const more = wait('10.0.0.3', 2);
    expect(closed([...others, ...more])).toEqual([false, false, false, false]);
    expect(closed(many)).toEqual([true, true, false, false]);
  });

  test('are closed, the longest waiting, where each is of another host', () => {
    const sockets = Array.from({ length: 8 }, (_, index) => wait(`10.0.0.${index}`, 1)).flat();
    expect(closed(sockets)).toEqual([true, true, ...Array<boolean>(6).fill(false)]);
  });

  test('count no longer when they are let in or closed', async () => {
    config.PYRO_MAX_HANDSHAKES = 2;
    enter('10.0.0.1', 2);
    const [one, two] = wait('10.0.0.1', 2);
    one?.destroy();
    if (one) await once(one, 'close');
    const [three] = wait('10.0.0.1', 1);
    expect([two?.destroyed, three?.destroyed]).toEqual([false, false]);
  });
});
