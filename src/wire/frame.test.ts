import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { ConnectionClosedError, ProtocolError } from '../errors.js';
import { encodeFrame, FrameReader, Pickled, type Body, type FrameLimits, type FrameOptions } from './frame.js';

const PLAIN = { compression: false, checksum: false };
const SMALL_LIMITS: FrameLimits = { maxBodySize: 1 << 20, maxInflatedSize: 1 << 20 };

const bytes = (maxLength = 2000): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const frameOptions: fc.Arbitrary<FrameOptions> = fc.record({ compression: fc.boolean(), checksum: fc.boolean() });

async function frameOf(body: Body, options: FrameOptions = PLAIN): Promise<Buffer> {
  const frame = await encodeFrame(body, options);
  return Buffer.concat(frame instanceof Uint8Array ? [frame] : frame);
}

/** Cuts bytes into chunks at these places. */
function cut(stream: Uint8Array, places: readonly number[]): Buffer[] {
  const edges = [0, ...places.map((place) => place % (stream.length + 1)).sort((a, b) => a - b), stream.length];
  return edges.slice(1).map((edge, index) => Buffer.from(stream.subarray(edges[index], edge)));
}

async function bodiesIn(reader: FrameReader): Promise<Buffer[]> {
  const bodies = [];
  for (let body = reader.next(); body !== undefined; body = reader.next()) bodies.push(await body);
  return bodies;
}

/** A frame's header, with some of it changed. */
function header(
  changes: Partial<Record<'id' | 'version' | 'headerSize' | 'size' | 'flags' | 'checksum', number>>,
): Buffer {
  const { id = 0x5059524f, version = 5, headerSize = 18, size = 0, flags = 0, checksum = 0 } = changes;
  const bytes = Buffer.alloc(18);
  bytes.writeUInt32BE(id, 0);
  bytes.writeUInt16BE(version, 4);
  bytes.writeUInt16BE(headerSize, 6);
  bytes.writeInt32BE(size, 8);
  bytes.writeUInt16BE(flags, 12);
  bytes.writeInt32BE(checksum, 14);
  return bytes;
}

async function read(stream: Uint8Array, limits?: FrameLimits): Promise<Buffer | undefined> {
  const reader = new FrameReader(limits);
  reader.push(Buffer.from(stream));
  return reader.next();
}

describe('frames', () => {
  test('are what Pyro 3.16 sends', async () => {
    // createMsg('abc') of a Pyro 3.16 adapter: plain, and with PYRO_CHECKSUM.
    expect((await frameOf(Buffer.from('abc'))).toString('hex')).toBe('5059524f0005001200000003000000000000616263');
    expect((await frameOf(Buffer.from('abc'), { ...PLAIN, checksum: true })).toString('hex')).toBe(
      '5059524f00050012000000030002024d0127616263',
    );
  });

  test('are read back from chunks whose memory is used again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(bytes(), { maxLength: 8 }), fc.array(fc.nat()), async (bodies, places) => {
        const frames = await Promise.all(bodies.map((body) => frameOf(body)));
        const reader = new FrameReader();
        const read = [];
        for (const chunk of cut(Buffer.concat(frames), places)) {
          reader.push(chunk, true);
          chunk.fill(0xff);
          read.push(...(await bodiesIn(reader)));
        }
        expect(read.map((body) => body.toString('hex'))).toEqual(
          bodies.map((body) => Buffer.from(body).toString('hex')),
        );
      }),
    );
  });

  test('are read back in any chunking', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.array(bytes(), { minLength: 1, maxLength: 3 }), frameOptions), { maxLength: 8 }),
        fc.array(fc.nat()),
        async (messages, places) => {
          const frames = await Promise.all(messages.map(([pieces, options]) => frameOf(pieces, options)));
          const reader = new FrameReader();
          const bodies = [];
          for (const chunk of cut(Buffer.concat(frames), places)) {
            reader.push(chunk);
            bodies.push(...(await bodiesIn(reader)));
          }
          expect(bodies).toEqual(messages.map(([pieces]) => Buffer.concat(pieces)));
          expect(reader.buffered).toBe(0);
        },
      ),
    );
  });

  test('leave no memory behind when they were large, and what follows them is read', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(0, 10, 70_000, 300_000), { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat()),
        async (sizes, places) => {
          const reader = new FrameReader();
          const bodies = sizes.map((size, index) => Buffer.alloc(size, index + 1));
          const frames = await Promise.all(bodies.map((body) => frameOf(body)));
          const read: Buffer[] = [];
          for (const chunk of cut(Buffer.concat([...frames, Buffer.from('P')]), places)) {
            reader.push(chunk, true);
            read.push(...(await bodiesIn(reader)));
          }
          expect(read.map((body, index) => body.equals(bodies[index] ?? body))).toEqual(bodies.map(() => true));
          expect(String(reader.peek(2))).toBe('P');
          // Node's pool for small buffers has 8 kB, or 64 kB from Node 24 on.
          expect(sizes.at(-1) === 300_000 ? reader.peek(1).buffer.byteLength : 0).toBeLessThan(100_000);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('of many megabytes, byte by byte and in pieces, take no quadratic time', async () => {
    const body = Buffer.alloc(4 << 20, 'pyro');
    const reader = new FrameReader();
    const frame = await frameOf(body);
    for (let place = 0; place < 1 << 20; place++) reader.push(frame.subarray(place, place + 1));
    for (let place = 1 << 20; place < frame.length; place += 1000) reader.push(frame.subarray(place, place + 1000));
    expect((await reader.next())?.equals(body)).toBe(true);
  });

  test('that are compressed are smaller, or left as they are', async () => {
    const compression = { compression: true, checksum: false };
    const text = Buffer.alloc(200_000, 'compressible ');
    expect((await frameOf(text, compression)).length).toBeLessThan(2000);
    expect((await read(await frameOf(text, compression)))?.equals(text)).toBe(true);
    expect((await frameOf(Buffer.from('no'), compression)).length).toBe(20);
  });

  test('need no memory before their bytes arrive', () => {
    const reader = new FrameReader({ maxBodySize: 0x7fffffff, maxInflatedSize: 0x7fffffff });
    const before = process.memoryUsage().arrayBuffers;
    reader.push(header({ size: 0x7fffffff }));
    for (let index = 0; index < 100; index++) {
      reader.push(Buffer.alloc(100));
      expect(reader.next()).toBeUndefined();
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });
});

test('a body that is pickled already is framed as any other, however it is sent before', async () => {
  await fc.assert(
    fc.asyncProperty(bytes(8000), fc.array(frameOptions, { maxLength: 5 }), async (body, sendings) => {
      const pickled = new Pickled(body);
      for (const options of sendings) {
        expect(await frameOf(pickled, options)).toEqual(await frameOf(body, options));
      }
    }),
    { numRuns: 50 },
  );
});

describe('bytes that are no frame', () => {
  test.each([
    ['invalid header', header({ id: 0x48545450 })],
    ['invalid header', header({ headerSize: 20 })],
    ['invalid header', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['incompatible protocol version', header({ version: 4 })],
    ['invalid message size', header({ size: -1 })],
    ['message too large', header({ size: SMALL_LIMITS.maxBodySize + 1 })],
    ['xml pickle not supported', header({ flags: 4 })],
    ['checksum error', header({ flags: 2, checksum: 7 })],
    ['invalid compressed data', header({ flags: 1 })],
    ['invalid compressed data', Buffer.concat([header({ flags: 1, size: 5 }), Buffer.from('hello')])],
    ['invalid compressed data', Buffer.concat([header({ flags: 1, size: 9000 }), Buffer.alloc(9000)])],
  ])('%s', async (message, stream) => {
    await expect(read(stream, SMALL_LIMITS)).rejects.toThrow(new ProtocolError(message));
  });

  test('are a ProtocolError or wait for more, whatever they are', async () => {
    const chaos = fc.oneof(
      bytes(200),
      fc
        .record({ flags: fc.nat(7), size: fc.nat(100), checksum: fc.nat() })
        .map(({ flags, size, checksum }) => header({ flags, size, checksum })),
    );
    await fc.assert(
      fc.asyncProperty(chaos, bytes(200), async (start, rest) => {
        const error = await read(Buffer.concat([start, rest]), SMALL_LIMITS).catch((thrown: unknown) => thrown);
        expect(error === undefined || error instanceof Buffer || error instanceof ProtocolError).toBe(true);
      }),
    );
  });

  test('large bombs are inflated a few at a time, and not where nobody wants them any more', async () => {
    const bomb = deflateSync(Buffer.alloc(SMALL_LIMITS.maxInflatedSize * 16));
    const stream = Buffer.concat([header({ flags: 1, size: bomb.length }), bomb]);
    const readers = Array.from({ length: 6 }, () => new FrameReader());
    const results = readers.map(async (reader) => {
      reader.push(stream);
      return (await reader.next())?.length;
    });
    // Those that are begun are finished, as zlib can't be stopped.
    await new Promise(setImmediate);
    for (const reader of readers) reader.abandon();
    const settled = await Promise.allSettled(results);
    const begun = settled.filter(({ status }) => status === 'fulfilled');
    expect(begun).toEqual(Array(2).fill({ status: 'fulfilled', value: SMALL_LIMITS.maxInflatedSize * 16 }));
    expect(settled.filter((result) => !begun.includes(result))).toEqual(
      Array(4).fill({ status: 'rejected', reason: new ConnectionClosedError('connection lost') }),
    );
  });

  test.each([
    ['small', 4 << 20],
    ['large', 64 << 20],
  ])('a %s bomb is not inflated beyond the limit', async (_size, inflated) => {
    const bomb = deflateSync(Buffer.alloc(inflated));
    const stream = Buffer.concat([header({ flags: 1, size: bomb.length }), bomb]);
    await expect(read(stream, SMALL_LIMITS)).rejects.toThrow(new ProtocolError('message too large'));
    const atTheLimit = deflateSync(Buffer.alloc(SMALL_LIMITS.maxInflatedSize));
    const frame = Buffer.concat([header({ flags: 1, size: atTheLimit.length }), atTheLimit]);
    expect((await read(frame, SMALL_LIMITS))?.length).toBe(SMALL_LIMITS.maxInflatedSize);
  });
});

describe('limits', () => {
  const whole = (size: number): Buffer => Buffer.concat([header({ size }), Buffer.alloc(size)]);

  test('hold for the body as sent: at the bound it is read, one byte beyond it is refused before it arrives', async () => {
    const limits = { maxBodySize: 100, maxInflatedSize: 1 };
    expect(await read(whole(100), limits)).toEqual(Buffer.alloc(100));
    await expect(read(header({ size: 100 }), limits)).resolves.toBeUndefined();
    await expect(read(header({ size: 101 }), limits)).rejects.toThrow(new ProtocolError('message too large'));
  });

  test.each([
    ['a small one', 100],
    ['a large one', 10_000],
  ])('hold for the body after decompression: %s', async (_what, size) => {
    // Random bytes stay large when they are compressed.
    const compressed = deflateSync(randomBytes(size));
    const stream = Buffer.concat([header({ flags: 1, size: compressed.length }), compressed]);
    const limits = { maxBodySize: 1 << 20, maxInflatedSize: size };
    expect(await read(stream, limits)).toHaveLength(size);
    const tooLarge = read(stream, { ...limits, maxInflatedSize: size - 1 });
    await expect(tooLarge).rejects.toThrow(new ProtocolError('message too large'));
  });

  test('are the same for a reader that was told none: 256 MiB', async () => {
    await expect(read(header({ size: 0x10000000 }))).resolves.toBeUndefined();
    await expect(read(header({ size: 0x10000001 }))).rejects.toThrow(new ProtocolError('message too large'));
  });

  test('hold for what is sent, too: a frame has room for 2 GiB less a byte', () => {
    const piece = Buffer.allocUnsafeSlow(1 << 20);
    const pieces = [...Array.from({ length: 2047 }, () => piece), piece.subarray(1)];
    expect(encodeFrame(pieces, PLAIN)).toHaveLength(2049);
    expect(() => encodeFrame([...pieces, Buffer.alloc(1)], PLAIN)).toThrow(new ProtocolError('message too large'));
  });
});

describe('a checksum', () => {
  test('is of the body as sent, compressed or not, and each bit of it counts', async () => {
    for (const compression of [false, true]) {
      const body = Buffer.alloc(50, 'checked ');
      const good = await frameOf(body, { compression, checksum: true });
      expect(good.readInt16BE(12)).toBe(compression ? 3 : 2);
      expect(await read(good)).toEqual(body);
      for (const place of [14, 17, 18, good.length - 1]) {
        const bad = Buffer.from(good);
        bad[place] = (bad[place] ?? 0) ^ 1;
        await expect(read(bad)).rejects.toThrow(new ProtocolError('checksum error'));
      }
    }
  });

  test('is not looked at where the frame says that it has none', async () => {
    expect(await read(header({ checksum: 7 }))).toHaveLength(0);
  });
});

describe('work that takes long is done in another thread', () => {
  test.each([
    ['inflated at once', 4096, false],
    ['inflated in a thread', 4097, true],
  ])('what is %s: %d bytes', async (_what, size, isLater) => {
    // Stored, not compressed: 11 bytes more than the body.
    const compressed = deflateSync(Buffer.alloc(size - 11), { level: 0 });
    expect(compressed).toHaveLength(size);
    const reader = new FrameReader();
    reader.push(Buffer.concat([header({ flags: 1, size }), compressed]));
    const body = reader.next();
    expect(body instanceof Promise).toBe(isLater);
    expect(await body).toEqual(Buffer.alloc(size - 11));
  });

  test.each([
    [65_536, false],
    [65_537, true],
    [4_000_000, true],
  ])('what inflates to %d bytes, later: %s', async (size, isLater) => {
    const compressed = deflateSync(Buffer.alloc(size));
    expect(compressed.length).toBeLessThan(4096);
    const reader = new FrameReader();
    reader.push(Buffer.concat([header({ flags: 1, size: compressed.length }), compressed]));
    const body = reader.next();
    expect(body instanceof Promise).toBe(isLater);
    expect(await body).toEqual(Buffer.alloc(size));
  });

  test.each([
    [65_536, false],
    [65_537, true],
  ])('deflating %d bytes', async (size, isLater) => {
    const frame = encodeFrame(Buffer.alloc(size), { compression: true, checksum: false });
    expect(frame instanceof Promise).toBe(isLater);
    expect(await frame).toHaveLength(2);
  });
});

describe('a body that is pickled already', () => {
  test.each([
    ['one piece', 4096 - 18, true],
    ['two pieces', 4096 - 17, false],
  ])('is made into a frame once, of %s, and again only for other options', async (_what, size, isOne) => {
    const pickled = new Pickled(Buffer.alloc(size, 'x'));
    const frame = encodeFrame(pickled, PLAIN);
    expect(frame instanceof Uint8Array).toBe(isOne);
    expect(encodeFrame(pickled, PLAIN)).toBe(frame);
    const checked = encodeFrame(pickled, { ...PLAIN, checksum: true });
    expect(checked).not.toBe(frame);
    expect(encodeFrame(pickled, { ...PLAIN, checksum: true })).toBe(checked);
    const compressed = encodeFrame(pickled, { compression: true, checksum: true });
    expect(compressed).not.toBe(checked);
    expect(encodeFrame(pickled, { compression: true, checksum: true })).toBe(compressed);
    expect(await read(await frameOf(pickled, PLAIN))).toEqual(Buffer.alloc(size, 'x'));
  });
});

describe('a reader tells what has begun to arrive', () => {
  test('its size with the header, once that is here, wherever it begins', async () => {
    const reader = new FrameReader();
    expect([reader.buffered, reader.announced]).toEqual([0, 0]);
    reader.push(header({ size: 3 }));
    reader.push(Buffer.from('abc'));
    expect([reader.buffered, reader.announced]).toEqual([21, 21]);
    const rest = header({ size: 1000 });
    reader.push(rest.subarray(0, 17));
    expect(await reader.next()).toEqual(Buffer.from('abc'));
    expect([reader.buffered, reader.announced]).toEqual([17, 0]);
    reader.push(rest.subarray(17));
    expect([reader.buffered, reader.announced]).toEqual([18, 1018]);
    expect(reader.next()).toBeUndefined();
  });

  test('bytes that are no frame are taken only when all have arrived', () => {
    const reader = new FrameReader();
    reader.push(Buffer.from('GRANTE'));
    expect(reader.take(7)).toBeUndefined();
    expect(String(reader.peek(7))).toBe('GRANTE');
    reader.push(Buffer.from('D!'));
    expect(String(reader.peek(7))).toBe('GRANTED');
    expect(String(reader.take(7))).toBe('GRANTED');
    expect([reader.buffered, String(reader.peek(7))]).toEqual([1, '!']);
  });

  test('memory of its own is at most four times of what is here', () => {
    const reader = new FrameReader();
    reader.push(header({ size: 1 << 20 }));
    reader.push(Buffer.alloc(982));
    // Small buffers share one of Node's, whose size is Node's own affair.
    const sharedSize = Buffer.allocUnsafe(1).buffer.byteLength;
    expect(reader.peek(1).buffer.byteLength).toBeLessThanOrEqual(Math.max(4 * 1000, sharedSize));
    reader.push(Buffer.alloc(9000));
    expect(reader.peek(1).buffer.byteLength).toBe(40_000);
    reader.push(Buffer.alloc(390_000));
    expect(reader.peek(1).buffer.byteLength).toBe((1 << 20) + 18);
  });
});
