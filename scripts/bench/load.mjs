// Loads one server, from a process of its own. It must be much cheaper than any server: requests are encoded before,
// replies are counted by their headers, and nothing is allocated per request.
//
// The argument is JSON: { host, port, objectID, connections, inFlight, method, args, warmUpMs, measureMs } for calls
// without end, or { ..., each } for `each` calls per connection; `%` in an argument is a number of eight digits, another
// for each call, `%group` its first five and `%member` its last three. Prints JSON: { calls, ms, bodySize }; bodySize is the size of all replies' bodies, or -1 where they differ.
import { connect } from 'node:net';
import { CHALLENGE_SIZE, connectFrame, FrameCounter, GRANTED, request } from './frames.mjs';

const job = JSON.parse(process.argv[2]);

/** The requests of one connection, one after the other, all of one length. */
function requestsOf(connection) {
  const count = job.each ?? job.inFlight;
  const encoded = Array.from({ length: count }, (_, call) => {
    const number = String(connection * count + call).padStart(8, '0');
    const filled = job.args.map((text) =>
      text.replace('%group', number.slice(0, 5)).replace('%member', number.slice(5)).replace('%', number),
    );
    return request(job.objectID, job.method, ...filled);
  });
  return { bytes: Buffer.concat(encoded), length: encoded[0].length, count };
}

class Caller {
  replies = new FrameCounter();
  answered = 0;
  #sent = 0;

  constructor(index, readBuffer) {
    this.requests = requestsOf(index);
    this.connected = new Promise((resolve) => (this.#onConnected = resolve));
    this.finished = new Promise((resolve) => (this.#onFinished = resolve));
    this.#socket = connect({
      host: job.host,
      port: job.port,
      noDelay: true,
      onread: { buffer: readBuffer, callback: (size, buffer) => this.#read(buffer.subarray(0, size)) },
    });
    this.#socket.on('error', fail).on('close', () => fail(new Error('the server closed the connection')));
  }

  #socket;
  #onConnected;
  #onFinished;
  #handshake = Buffer.alloc(0);
  #step = 'challenge';

  #read(chunk) {
    if (this.#step === 'connected') this.#count(chunk);
    else this.#shake(chunk);
    return true;
  }

  #shake(chunk) {
    this.#handshake = Buffer.concat([this.#handshake, chunk]);
    if (this.#step === 'challenge' && this.#handshake.length >= CHALLENGE_SIZE) {
      this.#socket.write(connectFrame(this.#handshake));
      this.#handshake = Buffer.alloc(0);
      this.#step = 'answer';
    } else if (this.#step === 'answer' && this.#handshake.length >= GRANTED.length) {
      if (!this.#handshake.equals(GRANTED)) fail(new Error(`refused: ${this.#handshake}`));
      this.#step = 'connected';
      this.#onConnected();
    }
  }

  #count(chunk) {
    const complete = this.replies.feed(chunk);
    this.answered += complete;
    if (complete > 0) this.send(complete);
  }

  send(wanted) {
    const { bytes, length, count } = this.requests;
    if (job.each === undefined) {
      for (let left = wanted; left > 0; left -= count)
        this.#socket.write(bytes.subarray(0, length * Math.min(left, count)));
      return;
    }
    const next = Math.min(this.#sent + wanted, count);
    if (next > this.#sent) this.#socket.write(bytes.subarray(this.#sent * length, next * length));
    this.#sent = next;
    if (this.answered === count) this.#onFinished();
  }
}

function fail(error) {
  process.stderr.write(`load: ${error.message}\n`);
  process.exit(1);
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// All connections read into one buffer: what is in it is looked at at once, and not kept.
const readBuffer = Buffer.alloc(1 << 16);
const callers = Array.from({ length: job.connections }, (_, index) => new Caller(index, readBuffer));
await Promise.all(callers.map(({ connected }) => connected));
const answered = () => callers.reduce((sum, caller) => sum + caller.answered, 0);

let from = performance.now();
for (const caller of callers) caller.send(job.inFlight);
let before = 0;
if (job.each === undefined) {
  await wait(job.warmUpMs);
  before = answered();
  from = performance.now();
  await wait(job.measureMs);
} else {
  await Promise.all(callers.map(({ finished }) => finished));
}
const calls = answered() - before;
const ms = performance.now() - from;
const sizes = new Set(callers.map(({ replies }) => replies.bodySize));
process.stdout.write(JSON.stringify({ calls, ms, bodySize: sizes.size === 1 ? [...sizes][0] : -1 }));
process.exit(0);
