import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { PickleError, PickleWriter } from './index.js';
import { PickleOutput } from './output.js';

/** Something to write, and the bytes that it makes. */
interface Piece {
  readonly write: (output: PickleOutput) => unknown;
  readonly bytes: Buffer;
}

const code = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff);
const length = fc.constantFrom(0, 1, 2, 47, 48, 49, 255, 5000, 16_383, 16_384, 16_385, 40_000);
const ascii = length.map((count) => 'ab\x7f'.repeat(count).slice(0, count));

const withArgument = (opcode: number, size: number, put: (argument: Buffer) => void): Buffer => {
  const argument = Buffer.alloc(size);
  put(argument);
  return Buffer.concat([Buffer.of(opcode), argument]);
};

const piece: fc.Arbitrary<Piece> = fc.oneof(
  code.map((byte) => ({
    write: (output: PickleOutput) => {
      output.byte(byte);
    },
    bytes: Buffer.of(byte),
  })),
  fc.tuple(code, code).map(([first, second]) => ({
    write: (output: PickleOutput) => {
      output.twoBytes(first, second);
    },
    bytes: Buffer.of(first, second),
  })),
  fc.tuple(code, fc.integer({ min: 0, max: 0xffff })).map(([opcode, argument]) => ({
    write: (output: PickleOutput) => {
      output.withUint16(opcode, argument);
    },
    bytes: withArgument(opcode, 2, (bytes) => bytes.writeUInt16LE(argument)),
  })),
  fc.tuple(code, fc.integer({ min: 0, max: 0xffff_ffff })).map(([opcode, argument]) => ({
    write: (output: PickleOutput) => {
      output.withUint32(opcode, argument);
    },
    bytes: withArgument(opcode, 4, (bytes) => bytes.writeUInt32LE(argument)),
  })),
  fc.tuple(code, fc.double()).map(([opcode, argument]) => ({
    write: (output: PickleOutput) => {
      output.withFloat64(opcode, argument);
    },
    bytes: withArgument(opcode, 8, (bytes) => bytes.writeDoubleBE(argument)),
  })),
  fc.tuple(code, length).map(([byte, count]) => ({
    write: (output: PickleOutput) => {
      output.bytes(new Uint8Array(count).fill(byte));
    },
    bytes: Buffer.alloc(count, byte),
  })),
  fc.tuple(code, ascii).map(([opcode, text]) => ({
    write: (output: PickleOutput) => {
      output.withLine(opcode, `${text}\xff`);
    },
    bytes: Buffer.concat([Buffer.of(opcode), Buffer.from(`${text}\xff\n`, 'latin1')]),
  })),
  ascii.map((text) => ({
    write: (output: PickleOutput) => {
      output.text(`${text}\u20ac`, text.length + 3, 'utf8');
    },
    bytes: Buffer.from(`${text}\u20ac`),
  })),
  fc.tuple(code, ascii).map(([opcode, text]) => ({
    write: (output: PickleOutput) => output.withShortASCII(opcode, text),
    bytes: text.length > 48 ? Buffer.of() : Buffer.concat([Buffer.of(opcode, text.length), Buffer.from(text)]),
  })),
);

describe('the bytes of a pickle', () => {
  test('are what was written, whatever other pickles are made meanwhile', () => {
    const step = fc.record({
      of: fc.nat(2),
      piece,
      then: fc.constantFrom('write', 'write', 'write', 'take', 'finish'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const open = (): { output: PickleOutput; bytes: Buffer[] } => ({
          output: new PickleOutput(2 ** 30),
          bytes: [],
        });
        const outputs = [open(), open(), open()];
        const taken: { readonly actual: Buffer; readonly expected: Buffer }[] = [];
        for (const { of, piece: next, then } of steps) {
          const current = outputs[of] ?? open();
          next.write(current.output);
          current.bytes.push(next.bytes);
          if (then === 'write') continue;
          const actual = then === 'take' ? current.output.take() : current.output.finish();
          taken.push({ actual, expected: Buffer.concat(current.bytes.splice(0)) });
          if (then === 'finish') outputs[of] = open();
        }
        for (const { output, bytes } of outputs)
          taken.push({ actual: output.finish(), expected: Buffer.concat(bytes) });
        // Only now: what was taken must not change while other bytes are written.
        expect(taken.filter(({ actual, expected }) => !actual.equals(expected))).toEqual([]);
      }),
    );
  });

  test('are at most so many at one time, wherever the bound is', () => {
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), fc.boolean(), (pieces, isSecond) => {
        const bytes = Buffer.concat(pieces.map((each) => each.bytes));
        const writeTo = (maxLength: number): Buffer => {
          const output = new PickleOutput(maxLength);
          // What was taken does not count any more.
          if (isSecond && maxLength > 0) {
            output.bytes(new Uint8Array(maxLength));
            output.take();
          }
          for (const each of pieces) each.write(output);
          return output.finish();
        };
        expect(writeTo(bytes.length).equals(bytes)).toBe(true);
        if (bytes.length === 0) return;
        expect(() => writeTo(bytes.length - 1)).toThrow(
          new PickleError(`can't pickle more than ${bytes.length - 1} bytes`),
        );
      }),
    );
  });

  test('of a pickle stay the same if its writer is used after the end', () => {
    const ended = new PickleWriter().write('first');
    const first = ended.finish();
    const second = new PickleWriter().write('second').finish();
    ended.write('more');
    expect([first.toString('latin1'), second.toString('latin1')]).toEqual(['U\x05first', 'U\x06second']);
  });

  test('of short pickles share a buffer, those of a long one have their own', () => {
    const shortOnes = [1, 2].map(() => new PickleWriter().write('short').finish());
    const long = new PickleWriter().write('x'.repeat(100_000)).finish();
    expect(shortOnes[0]?.buffer).toBe(shortOnes[1]?.buffer);
    expect(long.buffer).not.toBe(shortOnes[0]?.buffer);
    expect(new PickleWriter().write('short').finish().buffer).not.toBe(long.buffer);
  });
});

describe('what is no line of text, or no short ASCII', () => {
  test.each(['a\nb', '\n', '\u0100', 'a\uffff'])('%j is no line', (text) => {
    const output = new PickleOutput(1000);
    expect(() => {
      output.line(text);
    }).toThrow(new PickleError(`can't pickle ${JSON.stringify(text)} as a line of text`));
    expect(output.finish()).toHaveLength(0);
  });

  test('of a long one, the error shows 64 characters', () => {
    expect(() => {
      new PickleOutput(1000).line('\n'.repeat(65));
    }).toThrow(new PickleError(`can't pickle "${'\\n'.repeat(64)}" as a line of text`));
  });

  test.each([
    ['', true],
    ['x'.repeat(48), true],
    ['x'.repeat(49), false],
    ['x\x7f', true],
    ['x\x80', false],
  ])('%j is short ASCII: %s', (text, isShort) => {
    const output = new PickleOutput(1000);
    expect(output.withShortASCII(0x55, text)).toBe(isShort);
    expect(output.finish().toString('latin1')).toBe(isShort ? `U${String.fromCharCode(text.length)}${text}` : '');
  });
});
