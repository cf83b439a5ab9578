import { createInterface } from 'node:readline/promises';
import { defaultConfig, defaultLog, printable } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { NAMESERVER_NAME, type PyroURI } from '../../names/index.js';
import { checkDatabase, databaseOf, type Finding } from '../../namespace/index.js';
import type { NameServerProxy, NameServerStatus } from '../../naming/index.js';
import { isDead, LivenessProbe, RemoteError, type ObjectStatus } from '../../rpc/index.js';
import type { Output } from './output.js';

/** Shows how a name server does. @throws NamingError where it is Pyro 3's, which can't say */
export async function showStatus(nameServer: NameServerProxy, output: Output): Promise<void> {
  try {
    const status = await nameServer._status();
    output.result(status, statusLines(status).join('\n'));
  } catch (error) {
    if (!(error instanceof RemoteError && error.className === 'AttributeError')) throw error;
    throw new NamingError('this name server is no pyro-ns, and can not tell how it does; it answers, so it is up');
  }
}

function statusLines({
  version,
  role,
  since,
  store,
  names,
  connections,
  autoCleaned,
  twin,
}: NameServerStatus): string[] {
  const lines = [
    `pyro-ns     ${printable(version)}, ${role === 'single' ? 'not paired' : role}`,
    `up since    ${new Date(since * 1000).toISOString()}`,
    `names       ${names === null ? 'not counted yet' : `${names.objects} objects, ${names.groups} groups`}`,
    `store       ${store.kind}: ${printable(store.problem ?? 'ok')}`,
    `connections ${connections.open} open, ${connections.accepted} accepted, ${connections.refused} refused`,
  ];
  if (store.endpoint !== null) {
    const contact = store.awaySeconds === null ? 'in contact' : `away for ${store.awaySeconds.toFixed(0)} s`;
    lines.push(`etcd        ${printable(store.endpoint)}: ${contact}`);
  }
  if (autoCleaned > 0) lines.push(`cleaned     ${autoCleaned} entries of dead objects`);
  if (twin !== null) {
    const where = twin.uri === null ? '' : ` ${twin.software ?? ''} at ${twin.uri},`;
    const due = twin.mergeDue ? ', all names are to be exchanged' : '';
    const problem = twin.problem === null ? '' : `: ${twin.problem}`;
    lines.push(printable(`twin       ${where} ${twin.state}, ${twin.unconfirmed} changes unconfirmed${due}${problem}`));
  }
  return lines;
}

export interface PruneOptions {
  /** Remove without asking. */
  readonly yes: boolean;
  /** Remove entries too whose daemons' machines don't answer at all. */
  readonly unreachable: boolean;
}

interface AskedEntry {
  readonly name: string;
  readonly uri: PyroURI;
  readonly status: ObjectStatus;
}

/** Shows which objects are dead, and removes their entries where that is wanted. */
export async function prune(nameServer: NameServerProxy, output: Output, options: PruneOptions): Promise<void> {
  const all = await askAll(nameServer);
  const dead = all.filter(({ status }) => isPrunable(status, options));
  for (const { name, uri, status } of dead) {
    output.line(
      `${printable(name)}  -->  ${printable(uri.toString())}  ${status.status}: ${printable(status.explanation)}`,
    );
  }
  const silent = all.filter(({ status }) => status.status === 'unreachable').length;
  if (!options.unreachable && silent > 0) {
    output.line(
      `${silent} more can't be reached, which may be the network's fault; --unreachable takes them for dead.`,
    );
  }
  for (const { name, uri, status } of all.filter(({ status }) => status.status === 'unknown')) {
    output.line(`${printable(name)}  -->  ${printable(uri.toString())}  left alone: ${printable(status.explanation)}`);
  }
  if (dead.length === 0) output.line('No dead objects.');
  else if (
    options.yes ||
    (await isConfirmed(`Remove ${dead.length === 1 ? 'this entry' : `these ${dead.length} entries`}?`, output))
  ) {
    for (const entry of dead) await removeDead(nameServer, output, entry, options);
    return;
  } else output.line('Nothing was removed; --yes removes without asking.');
  for (const { name, uri, status } of dead)
    output.data({ name, uri: uri.toString(), status: status.status, removed: false });
}

/** That nobody answers may be the network's fault: that counts only where it is wanted. */
function isPrunable(status: ObjectStatus, { unreachable }: PruneOptions): boolean {
  return isDead(status) && (unreachable || status.status !== 'unreachable');
}

const newProbe = ({ URI }: NameServerProxy): LivenessProbe =>
  new LivenessProbe({ config: defaultConfig(), nameServerHost: URI.address });

/** Asks for all objects but the name server's own; gives them by name. */
async function askAll(nameServer: NameServerProxy): Promise<AskedEntry[]> {
  const livenessProbe = newProbe(nameServer);
  const entries = (await nameServer.flatlist()).filter(([name]) => name !== NAMESERVER_NAME);
  const asked = await Promise.all(
    entries.map(async ([name, uri]) => ({ name, uri, status: await livenessProbe.ask(uri) })),
  );
  return asked.sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** Removes an entry, unless it has become another one in the meantime. */
async function removeDead(
  nameServer: NameServerProxy,
  output: Output,
  { name, uri, status }: AskedEntry,
  options: PruneOptions,
): Promise<void> {
  try {
    const now = await newProbe(nameServer).ask(uri);
    if (now.status === 'answers') throw new NamingError('answers again');
    if (!isPrunable(now, options)) throw new NamingError(`is ${now.status} now`);
    // Last, right before it is removed: asking the daemon takes its time.
    const current = await nameServer.resolve(name);
    if (!current.equals(uri)) throw new NamingError('registered anew in the meantime');
    await nameServer.unregister(name);
    const data = { name, uri: uri.toString(), status: status.status, removed: true };
    output.result(data, `${printable(name)} removed.`);
  } catch (error) {
    if (!(error instanceof NamingError)) throw error;
    const data = {
      name,
      uri: uri.toString(),
      status: status.status,
      removed: false,
      error: error.message,
      code: error.code,
    };
    output.failure(`## can't remove ${name}:  ${error.message}  ##`, data);
  }
}

/** Asks the one at the terminal; where there is none, the answer is no. */
async function isConfirmed(question: string, output: Output): Promise<boolean> {
  if (output.columns === undefined || !process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}

/** Checks a database directory, and repairs it where that is wanted. Fails where there is damage that was not repaired before. */
export async function check(path: string | undefined, repair: boolean, output: Output): Promise<void> {
  const count = { damage: 0, repaired: 0 };
  const onFinding = (finding: Finding): void => {
    if (finding.isDamage) count.damage += 1;
    if (finding.repair !== undefined) count.repaired += 1;
    const { kind, isDamage, repair: done } = finding;
    const text = `${finding.path}: ${kind}${isDamage ? '' : ' (no damage)'}. ${finding.explanation}`;
    output.result({ ...finding, repair: done ?? null }, printable(done === undefined ? text : `${text} ${done}`));
  };
  const onWait = (text: string): void => {
    output.notice(text);
  };
  const options = { log: defaultLog(), repair, onWait, onFinding };
  const report = await checkDatabase(databaseOf(path, defaultConfig()), options);
  output.line(
    printable(`${report.root}: ${report.groups} groups and ${report.objects} objects are as they should be.`),
  );
  if (report.movedTo !== undefined) output.line(printable(`What was wrong is in ${report.movedTo}`));
  if (count.damage > 0) {
    const hint = repair ? '' : '; --repair moves it aside';
    output.line(`Found wrong: ${count.damage}, of them repaired: ${count.repaired}${hint}.`);
  }
  output.failed = count.damage > 0;
}
