import type { ErrorReply } from '../api.js';

/** What the console, or the name server behind it, answered instead of what was asked for. */
export class ApiError extends Error {
  /** @param kind the class of the error, such as `NamingError` */
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }

  /** True where the name server wants another identification. */
  get isDenied(): boolean {
    return this.kind === 'ConnectionDeniedError';
  }
}

const STORED_TOKEN = 'token';

let token = '';

/**
 * Takes the token out of the page's address, or has it for the ticket there, and keeps it for as long as the tab is open:
 * so that it stays in no history and on no screen.
 * @throws ApiError where there is none
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
 * @throws ApiError with the console's own words, or where the console is gone
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

/** The console is of this package, and answers what api.ts says: here, and nowhere else, that is taken on trust. */

async function replyOf<Reply>(response: Response): Promise<Reply> {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-return
  return response.json();
}
