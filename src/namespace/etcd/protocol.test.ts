import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import protobuf from 'protobufjs/minimal.js';
import { AUTHENTICATE, LEASE_GRANT, RANGE, TRANSACTION, WATCH } from './protocol.js';

/** Writes a message as etcd might: fields in any order, and some that are not known here. */
const message = (write: (writer: protobuf.Writer) => protobuf.Writer): Buffer =>
  Buffer.from(write(protobuf.Writer.create()).finish());

const keyValue = (writer: protobuf.Writer, field: number, key: string, value: string, modRevision: number) =>
  writer
    .uint32((field << 3) | 2)
    .fork()
    .uint32(10)
    .string(key)
    .uint32(16)
    .int64(7)
    .uint32(24)
    .int64(modRevision)
    .uint32(42)
    .string(value)
    .uint32(48)
    .int64(-1)
    .ldelim();

describe('messages of etcd', () => {
  it('are read, whatever else is in them', () => {
    const range = message((writer) => {
      keyValue(writer, 2, '/pyro/1/:x', 'PYRO://h:1/x', 2 ** 40 + 1);
      writer
        .uint32(10)
        .fork()
        .uint32(8)
        .uint64(2 ** 52)
        .uint32(24)
        .int64(2 ** 33)
        .uint32(32)
        .uint64(9)
        .ldelim();
      return writer.uint32(24).bool(true).uint32(32).int64(5).uint32(805).fixed32(1).uint32(809).fixed64(1);
    });
    expect(RANGE.decode(range)).toEqual({
      revision: 2 ** 33,
      keyValues: [{ key: '/pyro/1/:x', value: Buffer.from('PYRO://h:1/x'), modRevision: 2 ** 40 + 1 }],
      more: true,
    });
    expect(RANGE.decode(Buffer.alloc(0))).toEqual({ revision: 0, keyValues: [], more: false });
  });

  it('distinguish deletions from empty values', () => {
    const response = message((writer) => {
      for (const [type, key] of [
        [0, 'put'],
        [1, 'deleted'],
      ] as const) {
        writer.uint32(90).fork();
        if (type !== 0) writer.uint32(8).int32(type);
        keyValue(writer, 2, key, '', 3).ldelim();
      }
      return writer.uint32(24).bool(true);
    });
    const { events, created } = WATCH.decode(response);
    expect(created).toBe(true);
    expect(events.map(({ key, value }) => [key, value?.length])).toEqual([
      ['put', 0],
      ['deleted', undefined],
    ]);
  });

  it('that are garbage are an error', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.constantFrom(RANGE, TRANSACTION, WATCH, LEASE_GRANT, AUTHENTICATE),
        (bytes, { decode }) => {
          const read = (): unknown => {
            try {
              decode(Buffer.from(bytes));
              return 'read';
            } catch (error) {
              return error instanceof Error ? 'refused' : error;
            }
          };
          expect(['read', 'refused']).toContain(read());
        },
      ),
    );
  });
});
