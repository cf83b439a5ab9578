// Just enough of Pyro's wire for a benchmark: frames counted by their headers alone, the handshake without
// identification, and requests whose arguments are strings.
import { createHmac } from 'node:crypto';

const HEADER_SIZE = 18;

export function frame(body) {
  const header = Buffer.alloc(HEADER_SIZE);
  header.write('PYRO', 0, 'latin1');
  header.writeUInt16BE(5, 4);
  header.writeUInt16BE(HEADER_SIZE, 6);
  header.writeInt32BE(body.length, 8);
  return Buffer.concat([header, body]);
}

export const GRANTED = Buffer.from('GRANTED', 'latin1');
export const CHALLENGE_SIZE = HEADER_SIZE + 16;

/** A client's answer to the server's first frame. */
export function connectFrame(challengeFrame) {
  const token = createHmac('md5', challengeFrame.subarray(HEADER_SIZE)).digest();
  return frame(Buffer.concat([Buffer.from('CONNECT', 'latin1'), token]));
}

const string = (text) => Buffer.concat([Buffer.from([0x55, text.length]), Buffer.from(text, 'latin1')]);

/** The frame of a call as the name server's own proxy sends it: pickle protocol 2, flags 0. */
export function request(objectID, method, ...args) {
  const argumentTuple = [Buffer.from('('), ...args.map(string), Buffer.from('t')];
  const flags = Buffer.from([0x4b, 0]);
  return frame(
    Buffer.concat([
      Buffer.from([0x80, 2, 0x28]),
      string(objectID),
      string(method),
      flags,
      ...argumentTuple,
      Buffer.from('t.'),
    ]),
  );
}

/** Cuts a stream into frames without looking at, or keeping, their bodies. */
export class FrameCounter {
  /** The body size of every frame so far, or -1 where sizes differ. */
  bodySize = undefined;
  #header = Buffer.alloc(HEADER_SIZE);
  #inHeader = 0;
  #inBody = 0;

  /** Takes what has come; returns how many frames it completed. */
  feed(chunk) {
    let complete = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#inBody > 0) {
        const taken = Math.min(this.#inBody, chunk.length - at);
        at += taken;
        this.#inBody -= taken;
        if (this.#inBody === 0) complete += 1;
      } else if (this.#inHeader === 0 && chunk.length - at >= HEADER_SIZE) {
        this.#begin(chunk, at);
        at += HEADER_SIZE;
      } else {
        const taken = Math.min(HEADER_SIZE - this.#inHeader, chunk.length - at);
        chunk.copy(this.#header, this.#inHeader, at, at + taken);
        at += taken;
        this.#inHeader += taken;
        if (this.#inHeader === HEADER_SIZE) {
          this.#inHeader = 0;
          this.#begin(this.#header, 0);
        }
      }
    }
    return complete;
  }

  #begin(buffer, at) {
    this.#inBody = buffer.readInt32BE(at + 8);
    if (this.bodySize === undefined) this.bodySize = this.#inBody;
    else if (this.bodySize !== this.#inBody) this.bodySize = -1;
  }
}
