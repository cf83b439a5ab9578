/**
 * The one table of what errors say, with a code for each text: beneath all rooms, as the classes in `errors.ts` are.
 *
 * An error goes over the wire as its class and its texts, and peers, Python's too, know no more of it. So its `code` is read from its
 * text, by the table: it is the same here, at a client, and where a Pyro 3 server raised it.
 */

/** What a refusal says. `{}` in a text stands for what differs from case to case. */
interface Refusal {
  /** Undefined where texts differ, and the class alone gives the code. */
  readonly text: string | undefined;
  /** What it means, for docs/errors.md. */
  readonly meaning: string;
}

/** All that pyro-ns, and a Pyro 3 server, refuse in words of their own. The texts are on the wire: they stay as they are. */
export const REFUSALS = {
  // Names and URIs.
  NAME_NOT_FOUND: { text: 'name not found', meaning: 'Nothing is registered under this name.' },
  NAME_EXISTS: { text: 'name already exists', meaning: 'The name is taken.' },
  NAME_INVALID: { text: 'invalid name', meaning: 'It is no name, or can be none of what was asked for.' },
  NAME_INVALID_CHARACTERS: {
    text: 'invalid character(s) in name',
    meaning: 'The name has characters that no name may have.',
  },
  NAME_TOO_LONG: { text: 'name too long', meaning: 'The name, or a part of it, is too long.' },
  URI_INVALID: {
    text: 'invalid URI',
    meaning: "The name server takes no such URI, can't find its host, or has a file that holds none.",
  },
  URI_MALFORMED: { text: 'invalid URI format', meaning: 'The text, or a set of parts, is no URI.' },
  URI_HOST_MALFORMED: { text: 'malformed hostname', meaning: 'The host of a URI can be none.' },
  URI_PORT_INVALID: { text: 'invalid port in URI', meaning: 'The port of a URI is not from 0 to 65535.' },
  URI_OF_NAME: {
    text: 'PYRONAME leads to a name, not to an object',
    meaning: "A PYRONAME URI stands where an object's own URI is needed.",
  },
  HOST_UNKNOWN: { text: 'unknown host', meaning: 'The host has no address.' },
  TOO_MANY_HOSTS: {
    text: 'too many host names are being looked up: PYRO_MAX_LOOKUPS is {}',
    meaning: 'DNS does not answer for the names that clients have sent: their number is limited.',
  },
  TOO_MANY_HOSTS_OF_CLIENT: {
    text: 'too many host names of this client are being looked up: more than a quarter of PYRO_MAX_LOOKUPS, which is {}',
    meaning: 'DNS does not answer for the names that this client has sent: each has a share.',
  },

  // Groups.
  GROUP_NOT_FOUND: { text: 'group not found', meaning: 'There is no such group.' },
  GROUP_EXISTS: { text: 'group already exists', meaning: 'There is such a group.' },
  GROUP_NAME_INVALID: { text: 'invalid groupname', meaning: 'Pyro 3: it is no name of a group.' },
  NOT_A_GROUP: { text: 'is no group', meaning: 'The name is that of an object.' },
  NOT_AN_OBJECT: { text: 'is a group, not an object', meaning: 'The name is that of a group.' },
  RESOLVED_GROUP: { text: 'attempt to resolve groupname', meaning: 'The name to resolve is that of a group.' },
  PARENT_NOT_FOUND: { text: '(parent)group not found', meaning: 'The group that the name is to be in does not exist.' },
  PARENT_NOT_A_GROUP: { text: 'parent is no group', meaning: 'What the name is to be in is an object.' },
  GROUP_HOLDS_FOREIGN_FILES: {
    text: 'group holds files that are no names',
    meaning: 'The database has files in the group that would be lost with it; the log names one.',
  },
  ROOT_NOT_DELETABLE: { text: 'not allowed to delete root group', meaning: "The root can't be deleted." },

  // What a name server does not allow.
  PERMISSION_DENIED: {
    text: 'permission denied: {}',
    meaning: 'The security plugin of the name server does not allow the operation.',
  },
  OWN_ENTRY: {
    text: "the name server's own entry can't be changed or removed",
    meaning: '`:Pyro.NameServer` belongs to the name server.',
  },
  GROUP_NEEDED: {
    text: "a group that the name server needs can't be deleted",
    meaning: '`:Pyro`, the default group and those above it stay.',
  },
  METADATA_TOO_LARGE: {
    text: 'metadata too large: {} bytes, PYRO_NS_MAX_META_SIZE is {}',
    meaning: 'The metadata of one name is limited.',
  },
  TOO_MANY_NAMES: { text: 'too many names: PYRO_NS_MAX_NAMES is {}', meaning: 'The number of names is limited.' },
  NO_ROOM: {
    text: 'no room for more: PYRO_NS_MAX_TOTAL_SIZE is {}',
    meaning: 'What the name server has in memory is limited.',
  },
  INTERNAL: { text: 'internal error of the name server; its log says more', meaning: 'A bug of the name server.' },

  // Finding and starting a name server.
  NAME_SERVER_NOT_FOUND: {
    text: 'could not find NameServer{}',
    meaning: 'No name server answers where it was looked for.',
  },
  NAME_SERVER_SILENT: { text: 'Name Server not responding', meaning: 'No name server answers the broadcast.' },
  NETWORK: { text: 'network error', meaning: 'A broadcast could not be sent.' },
  BROADCAST_ADDRESS_INVALID: {
    text: "invalid broadcast address '{}'",
    meaning: 'The broadcast address has no IP address.',
  },
  BROADCAST_NOT_STARTED: { text: 'cannot start broadcast server', meaning: "The broadcast port can't be listened on." },
  NAME_SERVER_RUNS: {
    text: 'Cannot start multiple Name Servers in the same network segment.',
    meaning: 'Another one answers, and `-m` is not given.',
  },

  // Connections.
  DENIED: { text: 'unspecified reason', meaning: 'The server let the connection not in, and did not say why.' },
  DENIED_BUSY: { text: 'server too busy', meaning: 'The server has as many connections as it may.' },
  DENIED_HOST: { text: 'host blocked', meaning: 'The server does not let this host in.' },
  DENIED_SECURITY: {
    text: 'security reasons',
    meaning: 'The identification, or the certificate, is not the right one.',
  },
  RESPONSE_INVALID: { text: 'invalid response', meaning: 'The server ended the handshake with something unknown.' },
  CHALLENGE_INVALID: { text: 'invalid challenge', meaning: 'The server began the handshake with something unknown.' },
  CONNECT_INVALID: {
    text: 'invalid connect message',
    meaning: 'The client answered the handshake with something unknown.',
  },
  CONNECTION_FAILED: { text: 'connection failed', meaning: 'No connection can be made; the second argument says why.' },
  CONNECTION_LOST: {
    text: 'connection lost',
    meaning: 'The connection has ended; what was asked for may have been done.',
  },
  CONNECT_TIMEOUT: { text: 'connection timeout', meaning: 'The handshake was not over in time.' },
  SEND_TIMEOUT: { text: 'connection timeout sending', meaning: 'Pyro 3: the peer did not take the message in time.' },
  ANSWER_TIMEOUT: {
    text: 'connection timeout receiving',
    meaning: 'The answer did not come in time; what was asked for may have been done.',
  },

  // Messages.
  HEADER_INVALID: { text: 'invalid header', meaning: "A message is not of Pyro's protocol." },
  VERSION_INCOMPATIBLE: {
    text: 'incompatible protocol version',
    meaning: "A message is of another version of Pyro's protocol.",
  },
  SIZE_INVALID: { text: 'invalid message size', meaning: 'A message has an impossible size.' },
  MESSAGE_TOO_LARGE: { text: 'message too large', meaning: 'A message is larger than it may be.' },
  XML_UNSUPPORTED: { text: 'xml pickle not supported', meaning: 'A message holds XML.' },
  CHECKSUM: { text: 'checksum error', meaning: 'A message does not have the checksum that it names.' },
  COMPRESSION_INVALID: { text: 'invalid compressed data', meaning: "A compressed message can't be inflated." },
  MESSAGE_UNEXPECTED: { text: 'unexpected message', meaning: 'An answer came that nobody had asked for.' },
  REQUEST_INVALID: { text: 'invalid request data format', meaning: "A request can't be read." },
  ANSWER_INVALID: {
    text: 'incorrect answer received',
    meaning: "An answer can't be read, or is not what was asked for.",
  },
  ANSWER_UNEXPECTED: {
    text: 'unexpected answer of the name server',
    meaning: 'The name server answered with something of another kind.',
  },
  PROTOCOL_UNSUPPORTED: { text: 'unsupported protocol', meaning: "A proxy can't be made of such a URI." },

  // Daemons and their objects.
  OBJECT_UNKNOWN: { text: 'unknown object ID', meaning: 'The daemon has no such object (any more).' },
  OBJECT_NAME_UNKNOWN: {
    text: 'no object found by this name',
    meaning: 'The daemon has no object that was connected under this name.',
  },
  OBJECT_ID_FIXED: {
    text: 'the id of the internal daemon object is fixed',
    meaning: 'It is the same for all daemons.',
  },
  OBJECT_NOT_CONNECTED: {
    text: 'the object is not connected to a daemon',
    meaning: 'Connect the object to a daemon first.',
  },
  PROXY_NOT_BOUND: {
    text: 'bind the proxy before it is passed on',
    meaning: 'A proxy that only knows a name has to find its object first.',
  },
  DAEMON_NOT_STARTED: { text: "Couldn't start Pyro daemon: {}", meaning: "The daemon can't listen." },
  DAEMON_NOT_LISTENING: { text: 'the daemon is not listening', meaning: 'The daemon is not started, or closed.' },
  DAEMON_NOT_TCP: { text: 'not listening on a TCP port', meaning: 'The daemon is not started, or closed.' },
  METRICS_NOT_SERVED: { text: "metrics can't be served: {}", meaning: "The metrics port can't be listened on." },
  METRICS_NOT_LISTENING: { text: 'metrics are not served', meaning: 'The metrics server is closed.' },
  STARTER_USED: { text: 'a NameServerStarter starts one name server, once', meaning: 'Make a new one.' },
  STARTER_NOT_RUNNING: { text: 'the name server is not running', meaning: 'It is not started, or stopped.' },
  EXCEPTION_UNSENDABLE: {
    text: "the exception can't be sent: {}",
    meaning: "The object raised something that can't be pickled.",
  },

  // Databases.
  DATABASE_IN_USE: { text: 'the database{} is in use by {}', meaning: 'Another server, or a tool, has the database.' },
  DATABASE_UNUSABLE: { text: "the database {} can't be {}: {}", meaning: 'The system refuses; the text says why.' },
  DATABASE_FOREIGN: {
    text: '{} is no database of a name server: {}',
    meaning: 'The directory holds other things than names.',
  },
  DATABASE_DAMAGED: {
    text: 'the database is damaged: {}',
    meaning: 'What the server needs in its database is not what it has to be; the log says more.',
  },
  DATABASE_FULL: {
    text: 'no space left in the database',
    meaning: 'Nothing was changed: the file system, or the quota, is full.',
  },
  DATABASE_FORBIDDEN: { text: 'no permission in the database', meaning: 'The server may not read or write there.' },
  DATABASE_READ_ONLY: { text: 'the database is read-only', meaning: 'Its file system is mounted read-only.' },
  DATABASE_IO: { text: 'input/output error in the database', meaning: 'The disk, or the connection to it, fails.' },
  DATABASE_MISSING: { text: 'the database is missing', meaning: 'The database directory is gone.' },
  DATABASE_SPANS_FILE_SYSTEMS: {
    text: 'the database spans file systems',
    meaning: 'Something is mounted in the database.',
  },
  DATABASE_CLOSED: { text: 'the database is closed', meaning: 'It was closed before the change was made.' },
  DATABASE_ERROR: { text: 'error in the database', meaning: 'Another error of the system; the log says more.' },
  TOO_MANY_FILES: { text: 'too many open files', meaning: 'The server has as many open files as it may.' },
  PATH_NOT_TRUSTED: {
    text: '{} is not used, because it is {}. Look at what it is, move it away or remove it, and try again',
    meaning: 'Somebody else put something where the server works.',
  },
  LINK_OF_ANOTHER_USER: { text: '{} is a symbolic link of another user', meaning: 'Such a link is not followed.' },
  UNAVAILABLE: { text: 'namespace is unavailable', meaning: "The store (etcd) can't be reached." },
  UNAVAILABLE_FOR_CHANGE: {
    text: 'namespace is unavailable, nothing was changed',
    meaning: "The store can't be reached: try again later.",
  },
  CHANGE_UNCERTAIN: {
    text: 'namespace is unavailable, the change may have been made',
    meaning: 'The store was lost on the way: look before trying again.',
  },
  REPLACED_ELSEWHERE: {
    text: 'namespace was replaced by another server',
    meaning: 'Two servers replaced all names at the same time.',
  },
  ETCD_NOT_OPENED: {
    text: "the namespace in etcd can't be opened: {}",
    meaning: 'etcd refuses, or holds something else there.',
  },

  // Pairs of name servers.
  NOT_A_PAIR: { text: "{} is not running in 'primary' or 'secondary' mode", meaning: 'The name server has no twin.' },
  TWIN_UNREACHABLE: { text: 'cannot resync: twin NS is unknown or unreachable', meaning: 'The twin is not there.' },
  TWIN_NOT_CONNECTED: { text: 'the twin is not connected', meaning: 'The twin is not there.' },
  TWIN_REFUSED: { text: 'the twin refused: {}', meaning: 'What the twin raised follows.' },
  TWIN_NOT_KNOWN: {
    text: '{} is for the twin name server: this is not where it is known to be',
    meaning: 'Somebody else than the twin calls.',
  },
  TWIN_NOT_INTRODUCED: {
    text: 'a twin introduces itself first',
    meaning: 'The twin has been started again, or somebody else calls.',
  },
  TWIN_WITHOUT_PROOF: {
    text: '{} gives no proof that it has the passphrase: it is none of ours, has no -i, or is of an older version of pyro-ns',
    meaning: 'Both need `-i`.',
  },
  TWIN_PASSPHRASE: {
    text: '{} does not have our passphrase: both need the same -i',
    meaning: 'The two passphrases differ.',
  },
  TWIN_PYRO3_FORBIDDEN: {
    text: "a Pyro 3 server can't prove that it has the passphrase: with -i, it is a twin only where PYRO_NS_PYRO3_TWIN=1",
    meaning: 'See docs/pair.md.',
  },
  TWIN_PYRO3_CALLS: {
    text: 'it is a Pyro 3 server, which has to call us',
    meaning: 'A Pyro 3 server is never called first, once it has been the twin.',
  },
  TWIN_SAME_ROLE: {
    text: 'both name servers are {}: one must be started with -1, the other with -2',
    meaning: 'Both have the same role.',
  },
  TWIN_CLOCK: {
    text: 'the clocks differ by {} seconds, and may by {}: set them, best by NTP',
    meaning: 'The newest change wins, so clocks must agree.',
  },
  TWIN_OVER_ETCD: {
    text: 'servers over etcd share their names, and make no pair (-1, -2)',
    meaning: 'Leave out `-1` and `-2`.',
  },
  TWIN_CHANGES_MISSING: { text: 'changes before these are missing', meaning: 'All names are exchanged instead.' },
  TWIN_CHANGES_WAIT: { text: 'too many changes wait to be merged', meaning: 'The twin sends them again later.' },
  TWIN_CHANGES_TOO_MANY: {
    text: 'too many records of changes in one call: {} of {}',
    meaning: 'The twin broke the protocol of pairs.',
  },
  TWIN_CHANGES_INVALID: { text: 'invalid records of changes', meaning: 'The twin broke the protocol of pairs.' },
  TWIN_CHANGE_INVALID: { text: 'invalid record of a change', meaning: 'The twin broke the protocol of pairs.' },
  TWIN_CHANGE_NUMBER: { text: 'invalid number of a change', meaning: 'The twin broke the protocol of pairs.' },
  TWIN_CHANGES_UNCONFIRMED: { text: 'it does not confirm our changes', meaning: 'The twin is connected anew.' },
  TWIN_CHANGES_NOT_TAKEN: { text: 'it does not take our changes', meaning: 'The twin does not read what it is sent.' },
  TWIN_INTRODUCTION_INVALID: {
    text: 'invalid introduction of a twin',
    meaning: 'The twin broke the protocol of pairs.',
  },
  TWIN_PROXY_INVALID: {
    text: '_resync takes a proxy of the twin name server',
    meaning: 'The twin broke the protocol of pairs.',
  },
  TWIN_DUMP_INVALID: {
    text: 'the twin gave something that is no dump of a namespace',
    meaning: 'The Pyro 3 twin sent something else.',
  },
  TWIN_DUMP_INCOMPLETE: { text: 'no parent', meaning: 'The Pyro 3 twin sent a name without its group.' },
  TWIN_CALL_UNKNOWN: { text: "a twin can't call {}", meaning: 'The Pyro 3 twin told something that is no change.' },
  TWIN_META_INVALID: {
    text: 'system meta info must be NameSpaceSystemMeta object',
    meaning: 'The Pyro 3 twin told something that is no change.',
  },
  TWIN_STARTING: { text: 'the name server is not ready for its twin', meaning: 'It starts; the twin tries again.' },
  SHUTTING_DOWN: { text: 'the name server shuts down', meaning: 'Ask again when it is back.' },

  // Import and the tools.
  IMPORT_EXISTS: { text: 'is there already, {}', meaning: 'The entry is there, and is another one.' },
  IMPORT_LINE_TOO_LONG: {
    text: 'the line is too long: it may have {} characters',
    meaning: 'A line of an import is limited.',
  },
  ENTRY_NOT_JSON: { text: 'the line is no JSON', meaning: 'A line of an import is no entry.' },
  ENTRY_NOT_OBJECT: { text: 'the line is no JSON object', meaning: 'A line of an import is no entry.' },
  ENTRY_FIELD_UNKNOWN: { text: "there is no field '{}' in an entry", meaning: 'A line of an import is no entry.' },
  ENTRY_NAME_MISSING: {
    text: 'an entry must have a name, which is a text',
    meaning: 'A line of an import is no entry.',
  },
  ENTRY_URI_INVALID: { text: 'a uri must be a text', meaning: 'A line of an import is no entry.' },
  ENTRY_SINCE_INVALID: { text: 'since must be a number of seconds', meaning: 'A line of an import is no entry.' },
  ENTRY_PICKLE_INVALID: { text: 'no pickle in base64: {}', meaning: "A value in a line of an import can't be read." },
  ENTRY_VALUE_INVALID: {
    text: 'a value must be a text, or {"pickle": "..."} with a pickle in base64',
    meaning: "A value in a line of an import can't be read.",
  },

  // The console.
  CONSOLE_NOT_CONNECTED: { text: 'not connected to this name server', meaning: 'Connect to the name server first.' },
  CONSOLE_FULL: { text: 'connected to {} name servers already', meaning: 'The number of connections is limited.' },
  JSON_INVALID: { text: 'that is no JSON: {}', meaning: 'Metadata that was to be JSON is none.' },
  JSON_TOO_DEEP: { text: 'JSON may be nested {} deep at most', meaning: 'Metadata is nested too deep.' },

  // Files and settings.
  CONFIG_ITEM_UNKNOWN: { text: '{}unknown configuration item {}', meaning: 'There is no such `PYRO_*` item.' },
  SECURITY_MODULE: { text: "Error loading security module '{}': {}", meaning: "The security plugin can't be used." },
  FILE_NOT_REGULAR: { text: '{} is no regular file', meaning: 'Where a file is to be written, something else is.' },
  FILE_UNREADABLE: { text: "{} can't be read: {}", meaning: "A file that a setting names can't be read." },

  // The other errors of each class: their texts differ.
  PYRO_ERROR: { text: undefined, meaning: 'Any other `PyroError`.' },
  URI_ERROR: { text: undefined, meaning: 'Any other `URIError`.' },
  NAMING_ERROR: { text: undefined, meaning: 'Any other `NamingError`.' },
  DAEMON_ERROR: { text: undefined, meaning: 'Any other `DaemonError`.' },
  MODULE_MISSING: { text: undefined, meaning: 'Any `NoModuleError`: a class that a request needs is not known.' },
  PROTOCOL_ERROR: { text: undefined, meaning: 'Any other `ProtocolError`.' },
  CONNECTION_CLOSED: { text: undefined, meaning: 'Any other `ConnectionClosedError`.' },
  TIMEOUT: { text: undefined, meaning: 'Any other `TimeoutError`.' },
  CONNECTION_DENIED: { text: undefined, meaning: 'Any other `ConnectionDeniedError`.' },
  CONFIG_INVALID: {
    text: undefined,
    meaning: 'Any other `ConfigError`: a configuration item, line or value is not valid.',
  },
  REMOTE_EXCEPTION: {
    text: undefined,
    meaning: 'Any other `RemoteError`: its `module` and `className` say which exception it is.',
  },
  PICKLE_ERROR: {
    text: undefined,
    meaning: "Any `PickleError`: a pickle can't be read, or a value can't be written as one.",
  },
} as const satisfies Record<string, Refusal>;

/** What an error says of itself, for programs: docs/errors.md has a line on each. */
export type ErrorCode = keyof typeof REFUSALS;

/** One value for each `{}` of a text. */
type Values<Text> = Text extends `${string}{}${infer Rest}` ? [value: string | number, ...Values<Rest>] : [];

/** The codes that a text stands for. */
type CodeWithText = { [Code in ErrorCode]: (typeof REFUSALS)[Code]['text'] extends string ? Code : never }[ErrorCode];

/** The text of a refusal. @param values what stands in it instead of each `{}` */
export function refusalText<Code extends CodeWithText>(
  code: Code,
  ...values: Values<(typeof REFUSALS)[Code]['text']>
): string {
  const [first = '', ...others] = REFUSALS[code].text.split('{}');
  return first + others.map((part, index) => `${values[index] ?? ''}${part}`).join('');
}

const isErrorCode = (key: string): key is ErrorCode => Object.hasOwn(REFUSALS, key);

/** All codes, in the table's order. */
export const ERROR_CODES: readonly ErrorCode[] = Object.keys(REFUSALS).filter(isErrorCode);

const FIXED_TEXTS = new Map<string, ErrorCode>();
const TEMPLATES: (readonly [code: ErrorCode, parts: readonly string[]])[] = [];
for (const code of ERROR_CODES) {
  const { text } = REFUSALS[code];
  if (text?.includes('{}') === true) TEMPLATES.push([code, text.split('{}')]);
  else if (text !== undefined) FIXED_TEXTS.set(text, code);
}

/** The code of an error's text, ours or a peer's; undefined where the table has no such text. */
export function codeOfText(text: string): ErrorCode | undefined {
  return FIXED_TEXTS.get(text) ?? TEMPLATES.find(([, parts]) => isMadeOf(text, parts))?.[0];
}

/** Whether a text is these parts with anything between them. */
function isMadeOf(text: string, parts: readonly string[]): boolean {
  const [first = '', ...others] = parts;
  const last = others.pop() ?? '';
  if (!text.startsWith(first)) return false;
  let end = first.length;
  for (const part of others) {
    const start = text.indexOf(part, end);
    if (start < 0) return false;
    end = start + part.length;
  }
  return text.endsWith(last) && text.length - last.length >= end;
}
