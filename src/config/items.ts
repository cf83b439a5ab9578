import {
  bytes,
  certificateFile,
  flag,
  groupName,
  integer,
  oneOf,
  optionalCertificateFile,
  optionalPath,
  optionalText,
  path,
  pickleFormat,
  port,
  seconds,
  storagePath,
  text,
  traceLevel,
} from './value-types.js';
import type { ValueType } from './value-types.js';

/** A configuration item, as the documentation and `--help` show it. */
export interface ConfigItem<T> {
  readonly kind: ValueType<T>;
  /** As it would be written in the file; empty for none. */
  readonly defaultText: string;
  /** One sentence. */
  readonly meaning: string;
  /** Its value is never shown, and must be the last word of its line, lest half a passphrase be taken for it. */
  readonly secret: boolean;
}

function item<T>(kind: ValueType<T>, defaultText: string | number, meaning: string): ConfigItem<T> {
  return { kind, defaultText: String(defaultText), meaning, secret: false };
}

const MiB = 1024 * 1024;

const PYRO_ITEMS = {
  PYRO_CONFIG_FILE: item(optionalPath, '', 'The file to read these items from, else `Pyro.conf`; environment only.'),
  PYRO_STORAGE: item(storagePath, '$CURDIR', 'Directory of the database, the URI file, the logs; `$STORAGE` below.'),
  PYRO_HOST: item(text, '', 'Host name or address that daemons listen on; empty for all of them.'),
  PYRO_PUBLISHHOST: item(optionalText, '', 'Host name or address to put in URIs, where it is not the one listened on.'),
  PYRO_PORT: item(port, 7766, 'First port that daemons try to listen on; 0 for any free one.'),
  PYRO_PORT_RANGE: item(integer(1, 65536), 100, 'How many ports daemons try, from PYRO_PORT up.'),
  PYRO_NS_HOSTNAME: item(optionalText, '', 'Host of the name server: where it is looked for before any broadcast.'),
  PYRO_NS_PORT: item(port, 9090, 'TCP port of the name server; 0 for any free one.'),
  PYRO_NS_BC_ADDR: item(optionalText, '', 'Broadcast address, where it is not 255.255.255.255.'),
  PYRO_NS_BC_PORT: item(port, 9090, "UDP port of the name server's broadcast listener."),
  PYRO_NS2_HOSTNAME: item(optionalText, '', 'Like PYRO_NS_HOSTNAME, for the second name server of a pair.'),
  PYRO_NS2_PORT: item(port, 9091, 'Like PYRO_NS_PORT, for the second name server of a pair.'),
  PYRO_NS2_BC_ADDR: item(optionalText, '', 'Like PYRO_NS_BC_ADDR, for the second name server of a pair.'),
  PYRO_NS2_BC_PORT: item(port, 9091, 'Like PYRO_NS_BC_PORT, for the second name server of a pair.'),
  PYRO_NS_URIFILE: item(path, '$STORAGE/Pyro_NS_URI', 'File that the name server writes its URI to.'),
  PYRO_NS_DEFAULTGROUP: item(groupName, ':Default', 'Group that relative names are in.'),
  PYRO_BC_RETRIES: item(integer(), 1, 'How often an unanswered broadcast is sent again; negative for without end.'),
  PYRO_BC_TIMEOUT: item(seconds(-Infinity), 0.75, 'Wait for the answer to a broadcast; negative for without end.'),
  PYRO_PICKLE_FORMAT: item(pickleFormat, 2, 'Pickle protocol to write; all of them are read.'),
  PYRO_TRACELEVEL: item(traceLevel, 0, 'What is logged: 0 nothing, 1 errors, 2 warnings too, 3 notes too.'),
  PYRO_USER_TRACELEVEL: item(traceLevel, 0, 'Like PYRO_TRACELEVEL, for the log of the program that uses the library.'),
  PYRO_LOGFILE: item(
    path,
    '$STORAGE/Pyro_log',
    "The log; `/dev/stdout` and `/dev/stderr` stand for the process's own.",
  ),
  PYRO_USER_LOGFILE: item(
    path,
    '$STORAGE/Pyro_userlog',
    'The log that `createUserLog` makes for the program that uses the library.',
  ),
  PYRO_STDLOGGING: item(flag, 0, "Log JSON lines (here: of pino) instead of Pyro's own format."),
  PYRO_MAXCONNECTIONS: item(integer(1), 200, 'How many connections a daemon accepts at a time.'),
  PYRO_TCP_LISTEN_BACKLOG: item(integer(1), 200, 'How many connections may wait to be accepted.'),
  PYRO_COMPRESSION: item(flag, 0, 'Compress what is sent, where that makes it smaller.'),
  PYRO_CHECKSUM: item(flag, 0, 'Send a checksum with each message.'),
  PYRO_DNS_URI: item(flag, 0, 'Put host names in URIs instead of IP addresses.'),
  PYRO_SOCK_KEEPALIVE: item(flag, 1, 'Let TCP find out about dead peers (SO_KEEPALIVE).'),
  PYRO_ONEWAY_THREADED: item(flag, 1, 'Do not wait for a one-way call to end before the next request.'),
  PYROSSL_CERTDIR: item(path, '$STORAGE/certs', 'Directory of the TLS certificates.'),
  PYROSSL_CA_CERT: item(certificateFile, 'ca.pem', "Certificate of the authority that must have signed a peer's."),
  PYROSSL_CERT: item(certificateFile, 'host.pem', "This host's certificate."),
  PYROSSL_KEY: item(optionalCertificateFile, '', 'Key of PYROSSL_CERT, where it is not in the same file.'),
  PYROSSL_POSTCONNCHECK: item(flag, 1, "Check that a server's certificate names the host that was asked for."),
};

// These are about Python: accepted, so that a Pyro.conf may be shared with Pyro 3, and not looked at.
const PYTHON_ITEMS = {
  PYRO_MULTITHREADED: item(text, 1, 'A thread for each connection; no connection ever waits for another here.'),
  PYRO_MOBILE_CODE: item(text, 0, 'Load classes from the peer; never done here.'),
  PYRO_XML_PICKLE: item(text, '', 'Gnosis XML pickles; refused here.'),
  PYRO_GNOSIS_PARANOIA: item(text, 0, 'How far Gnosis XML pickles are trusted.'),
  PYRO_BROKEN_MSGWAITALL: item(text, 0, 'Work around sockets without MSG_WAITALL.'),
  PYRO_STDLOGGING_CFGFILE: item(text, 'logging.cfg', "Configuration of Python's own logging."),
  PYRO_DETAILED_TRACEBACK: item(text, 0, 'Send the values of variables with tracebacks; never done here.'),
  PYRO_ES_QUEUESIZE: item(text, 1000, 'Queue of each subscriber of the event server.'),
  PYRO_ES_BLOCKQUEUE: item(text, 1, 'Let publishers wait for a full queue of the event server.'),
};

const OWN_ITEMS = {
  PYRO_NS_SYNC: item(flag, 1, 'Have each change on the disk before it is answered (fsync).'),
  PYRO_NS_CACHE_NAMES: item(integer(1), 200_000, 'How many names the persistent name server remembers.'),
  PYRO_NS_WATCH: item(
    oneOf('auto', 'native', 'polling'),
    'auto',
    'How changes made in the database by other programs are noticed.',
  ),
  PYRO_NS_READ: item(
    oneOf('cached', 'linearizable'),
    'cached',
    'Whether each read asks the shared store, or what is remembered of it.',
  ),
  PYRO_NS_ETCD_CA: item(optionalPath, '', "Certificate of the authority that signed etcd's; turns TLS on."),
  PYRO_NS_ETCD_CERT: item(optionalPath, '', 'Certificate to show to etcd, where it asks for one.'),
  PYRO_NS_ETCD_KEY: item(optionalPath, '', 'Key of PYRO_NS_ETCD_CERT.'),
  PYRO_NS_ETCD_USER: item(optionalText, '', 'User to log in to etcd as.'),
  PYRO_NS_ETCD_PASSWORD_FILE: item(optionalPath, '', "File whose first line is that user's password."),
  PYRO_NS_ETCD_TIMEOUT: item(seconds(1), 10, 'How long a change may wait for etcd before it fails.'),
  PYRO_NS_ETCD_STALE_SECONDS: item(
    seconds(0),
    600,
    'How long names are read from memory while etcd is away, before reads fail too.',
  ),
  PYRO_NS_AUTOCLEAN: item(seconds(0), 0, 'How often entries of dead objects are looked for and removed; 0 for never.'),
  PYRO_NS_AUTOCLEAN_FAILURES: item(
    integer(1),
    3,
    'How many times in a row an object must be found dead before its entry is removed.',
  ),
  PYRO_NS_AUTOCLEAN_SECONDS: item(
    seconds(0),
    600,
    "And for how long, where its daemon doesn't have it, or nothing listens on its daemon's port.",
  ),
  PYRO_NS_AUTOCLEAN_UNREACHABLE: item(
    seconds(0),
    86400,
    'And for how long, where nobody answers at all; 0 for never removing those.',
  ),
  PYRO_NS_IDENTIFICATION_FILE: item(optionalPath, '', 'File whose first line is the passphrase of the name server.'),
  PYRO_NS_IDENTIFICATION: { ...item(optionalText, '', 'The passphrase itself; comes before the file.'), secret: true },
  PYRO_NS_METRICS_HOSTS: item(
    optionalText,
    '',
    'Host names that the metrics may be asked by, with commas; addresses and the own names always may.',
  ),
  PYRO_NS_BC_RATE: item(integer(1), 20, 'How many broadcasts a second are answered to each address.'),
  PYRO_MAXCONNECTIONS_PER_HOST: item(
    integer(0),
    0,
    'How many of the PYRO_MAXCONNECTIONS may be of one address; 0 for three of four.',
  ),
  PYRO_MAX_HANDSHAKES: item(
    integer(0),
    0,
    'How many connections may wait beside them to be let in; 0 for three of four of PYRO_MAXCONNECTIONS.',
  ),
  PYRO_DENIAL_DELAY: item(
    seconds(0),
    2,
    'How long the answer to a passphrase is delayed at most, after wrong ones of the same address; 0 for not at all.',
  ),
  PYRO_DNS_TIMEOUT: item(seconds(0.1), 5, 'How long the look-up of a host name may take.'),
  PYRO_MAX_LOOKUPS: item(
    integer(1),
    128,
    'How many host names that clients send may be looked up at the same time; of one address, a quarter of them.',
  ),
  PYRO_HANDSHAKE_TIMEOUT: item(seconds(0.1), 10, 'How long a peer may take to open a connection.'),
  PYRO_STALL_TIMEOUT: item(
    seconds(0.1),
    60,
    'How long a peer may leave a message half sent, or its replies unread, before the connection is closed.',
  ),
  PYRO_IDLE_TIMEOUT: item(seconds(0), 0, 'How long a connection may be idle before it is closed; 0 for without end.'),
  PYRO_MAX_MESSAGE_SIZE: item(bytes, 256 * MiB, 'Largest body of a message, as sent.'),
  PYRO_MAX_INFLATED_SIZE: item(bytes, 512 * MiB, 'Largest body of a message, once decompressed.'),
  PYRO_NS_MAX_MESSAGE_SIZE: item(bytes, 16 * MiB, 'Largest message to the name server, as sent and decompressed.'),
  PYRO_MAX_INCOMING_SIZE: item(
    bytes,
    1024 * MiB,
    'Messages of more than 64 kB that arrive at a daemon at the same time; beyond, others wait, but for one of any size.',
  ),
  PYRO_NS_MAX_INCOMING_SIZE: item(bytes, 64 * MiB, 'The same of the name server.'),
  PYRO_NS_MAX_LISTS_SIZE: item(
    bytes,
    256 * MiB,
    'Memory of answers over 64 kB that clients have not taken yet; beyond, others wait until they have, but for one of any size.',
  ),
  PYRO_NS_MAX_NAMES: item(integer(1), 2_000_000, 'How many groups and objects clients may make; beyond, no new ones.'),
  PYRO_NS_MAX_META_SIZE: item(bytes, MiB, 'Largest metadata of a name, as a pickle.'),
  PYRO_NS_MAX_TOTAL_SIZE: item(
    bytes,
    512 * MiB,
    'Names, URIs and metadata that the store holds in memory, together; beyond, no new ones.',
  ),
  PYRO_NS_PYRO3_TWIN: item(
    flag,
    0,
    'Pair with a Pyro 3 server also where there is a passphrase: it is sent its hash, and proves nothing.',
  ),
  PYRO_NS_TWIN_QUEUE: item(integer(1), 10_000, 'Changes that may wait for the twin; beyond, all names are exchanged.'),
  PYRO_MAX_PICKLE_DEPTH: item(integer(10, 10_000), 500, 'How deep the values in a message may be nested.'),
  PYRO_MAX_PICKLE_OBJECTS: item(
    integer(1),
    10_000_000,
    'How many containers, longs, memo entries, and members of one tuple a message may hold; and ten times as many opcodes.',
  ),
  PYRO_NS_MAX_PICKLE_OBJECTS: item(integer(1), 100_000, 'The same of a message to the name server.'),
  PYRO_MAX_ONEWAY_CALLS: item(
    integer(1),
    100,
    'One-way calls of a connection that may be under way before no more requests are read from it.',
  ),
  PYRO_MAX_UNSENT_SIZE: item(
    bytes,
    MiB,
    'Replies that a peer may leave unread before no more requests are read from it.',
  ),
};

/** Every configuration item: the one table behind `Config`, its documentation and its checks. */
export const CONFIG_ITEMS = { ...PYRO_ITEMS, ...PYTHON_ITEMS, ...OWN_ITEMS };

/** The items as the documentation groups them. */
export const CONFIG_GROUPS: readonly { readonly title: string; readonly items: readonly ConfigItemName[] }[] = [
  { title: "Pyro's items", items: namesOf(PYRO_ITEMS) },
  { title: 'About Python: accepted, without effect here', items: namesOf(PYTHON_ITEMS) },
  { title: 'Not in Pyro 3', items: namesOf(OWN_ITEMS) },
];

/** The name of a configuration item. */
export type ConfigItemName = keyof typeof CONFIG_ITEMS;

/**
 * The configuration: a plain object, as Pyro's `Pyro.config`. It may be changed at run time (the locator swaps the
 * PYRO_NS_* and PYRO_NS2_* items); whoever needs a value reads it when it is needed.
 */
export type Config = {
  -readonly [K in ConfigItemName]: (typeof CONFIG_ITEMS)[K] extends ConfigItem<infer T> ? T : never;
};

/** True if this is the name of an item. */
export function isItemName(name: string): name is ConfigItemName {
  return Object.hasOwn(CONFIG_ITEMS, name);
}

/** The names of a group of items, typed. */
function namesOf(items: Partial<Record<ConfigItemName, unknown>>): ConfigItemName[] {
  return Object.keys(items).filter(isItemName);
}

/** The names of all items, in the order of the table. */
export const ITEM_NAMES: readonly ConfigItemName[] = namesOf(CONFIG_ITEMS);
