import type { ErrorReply } from '../api.js';

/** An error reply of the console, or of the name server behind it. */
export class ApiError extends Error {
  /** @param kind the class of the error, such as `NamingError` */
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }

  /** True if the name server requires another identification. */
  get isDenied(): boolean {
    return this.kind === 'ConnectionDeniedError';
  }
}

const STORED_TOKEN = 'token';

let token = '';

/**
 * Gets the access token from the page's URL, or redeems the ticket there for it, and stores it for the lifetime of the
 * tab. The URL is replaced, so that the token is neither in the history nor on the screen.
 * @throws ApiError where there is no token
 */
export async function signIn(): Promise<void> {
  const fragment = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, '', location.pathname);
  const ticket = fragment.get('ticket');
  token = fragment.get('token') ?? sessionStorage.getItem(STORED_TOKEN) ?? '';
  if (ticket !== null) token = (await call<{ readonly token: string }>('token', { ticket })).token;
  if (token === '')
    throw new ApiError('RequestError', 'Open the address that pyro-xnsc printed: it holds the key to this page.');
  sessionStorage.setItem(STORED_TOKEN, token);
}

/**
 * Calls the console's API.
 * @param request the body, or its JSON
 * @throws ApiError with the console's message, or where the console can't be reached
 */
export async function call<Reply>(path: string, request: object | string = {}, signal?: AbortSignal): Promise<Reply> {
  const response = await fetch(`api/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: typeof request === 'string' ? request : JSON.stringify(request),
    signal: signal ?? null,
  }).catch((error: unknown) => {
    if (signal?.aborted) throw error;
    throw new ApiError('ConsoleGone', 'The console has stopped: start pyro-xnsc again.');
  });
  if (response.ok) return replyOf<Reply>(response);
  const { error, message, about } = await replyOf<ErrorReply>(response);
  throw new ApiError(error, about === undefined ? message : `${message}: ${about}`);
}

/** Parses a reply. Its type is not checked: the console is of the same package, and replies as api.ts says. */

async function replyOf<Reply>(response: Response): Promise<Reply> {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-return
  return response.json();
}
