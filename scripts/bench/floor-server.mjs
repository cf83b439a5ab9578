// The yardstick: a server that does the handshake, cuts frames, and answers each with the same frame. No name server
// on Node can be faster than this.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { frame, FrameCounter, GRANTED } from './frames.mjs';

const MOST_AT_ONCE = 4096;
// A reply of `resolve` has about this size.
const reply = frame(Buffer.alloc(150, 'x'));
const replies = Buffer.concat(Array.from({ length: MOST_AT_ONCE }, () => reply));

const server = createServer({ noDelay: true }, (socket) => {
  const requests = new FrameCounter();
  let connected = false;
  socket.write(frame(randomBytes(16)));
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    let count = requests.feed(chunk);
    if (!connected && count > 0) {
      connected = true;
      count -= 1;
      socket.write(GRANTED);
    }
    if (count === 1) socket.write(reply);
    else if (count > 0) socket.write(replies.subarray(0, reply.length * Math.min(count, MOST_AT_ONCE)));
  });
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`URI is: PYRO://127.0.0.1:${server.address().port}/floor\nName Server started.\n`);
});
