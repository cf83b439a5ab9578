import { printable } from '../../config/index.js';
import { NamingError } from '../../errors.js';
import { GROUP, type ListEntry, type SystemMeta } from '../../namespace/index.js';
import type { NameServerProxy } from '../../naming/index.js';
import type { PythonValue } from '../../pickle/index.js';
import type { Output } from './output.js';
import { pythonFloat, pythonText } from './python-text.js';

/** What a command works with. */
export interface Session {
  readonly nameServer: NameServerProxy;
  readonly output: Output;
}

/** A command, with its arguments behind it; what goes wrong with one of several names does not stop the others. */
type Command = (session: Session, args: readonly string[]) => Promise<void>;

const byText = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);
const byPart = (one: ListEntry, other: ListEntry): number => byText(one.part, other.part);
const kindOf = ({ type }: Pick<ListEntry, 'type'>): string => (type === GROUP ? 'group' : 'object');

/** Does something for each name, and says of which it could not be done, and why. */
function forEachName(
  failure: string,
  action: (session: Session, name: string, fullName: string) => Promise<void>,
): Command {
  return async (session, names) => {
    const { nameServer, output } = session;
    for (const name of names) {
      try {
        await action(session, name, nameServer.fullName(name));
      } catch (error) {
        if (!(error instanceof NamingError)) throw error;
        output.failure(`## ${failure} ${name}:  ${error.message}  ##`, {
          name,
          error: error.message,
          code: error.code,
        });
      }
    }
  };
}

const listGroup = forEachName("can't list", async ({ nameServer, output }, group, fullName) => {
  const entries = (await nameServer.list(group)).sort(byPart);
  const members = entries.map((entry) => ({ name: entry.part, type: kindOf(entry) }));
  output.result({ group: fullName, members }, listing(output, `${fullName} ${group === '' ? '' : ' '}-->`, entries));
});

/** Pyro's one line for programs; on a terminal columns, as a group may have thousands of members. */
function listing(output: Output, heading: string, entries: readonly ListEntry[]): string {
  const shown = entries.map(({ part, type }) => (type === GROUP ? `[${printable(part)}]` : printable(part)));
  if (output.columns === undefined) return [heading, '(', ...shown, ')'].join(' ');
  const width = Math.max(0, ...shown.map((text) => text.length)) + 2;
  const perLine = Math.max(1, Math.floor(output.columns / width));
  const rows = Math.ceil(shown.length / perLine);
  const cell = (index: number): string => {
    const text = shown[index];
    if (text === undefined) return '';
    const padded = text.padEnd(width);
    return entries[index]?.type === GROUP ? output.styled('cyan', padded) : padded;
  };
  const lines = Array.from({ length: rows }, (_row, row) =>
    Array.from({ length: perLine }, (_column, column) => cell(row + column * rows))
      .join('')
      .trimEnd(),
  );
  const count = entries.length === 1 ? '1 member' : `${entries.length} members`;
  return [`${heading} ${count}`, ...lines].join('\n');
}

async function listAll({ nameServer, output }: Session): Promise<void> {
  const objects = (await nameServer.flatlist()).sort(([one], [other]) => byText(one, other));
  output.line('-------------- START DATABASE');
  for (const [name, uri] of objects) {
    output.result({ name, uri: uri.toString() }, `${printable(name)}  -->  ${printable(uri.toString())}`);
  }
  output.line('-------------- END');
}

const register: Command = async ({ nameServer, output }, [name = '', uri = '']) => {
  await nameServer.register(name, uri);
  // As it is registered: with the host's address. Who may not ask, or is too late, still has registered it.
  const registered = printable(await nameServer.resolve(name).then(String, () => uri));
  output.result({ name: nameServer.fullName(name), uri: registered }, `registered ${name}  -->  ${registered}`);
};

/** As `pythonText`; a script must tell None from the text `None`. */
const textOrNull = (value: PythonValue): string | null => (value === null ? null : pythonText(value));

const systemMetaText = ({ type, timestamp, owner }: SystemMeta): string =>
  `[type=${type} timestamp=${pythonFloat(timestamp)} owner=${pythonText(owner)}]`;

const showMeta = forEachName("can't get metadata of", async ({ nameServer, output }, name, fullName) => {
  const system = await nameServer._getSystemMeta(name);
  const meta = await nameServer.getMeta(name);
  output.result(
    {
      name: fullName,
      type: system === undefined ? null : kindOf(system),
      timestamp: system?.timestamp ?? null,
      owner: textOrNull(system?.owner ?? null),
      meta: textOrNull(meta),
    },
    `META INFO OF ${fullName}\n` +
      `system meta info : ${system === undefined ? 'None' : systemMetaText(system)}\n` +
      `  user meta info : ${pythonText(meta)}`,
  );
});

const showTree = forEachName("can't list", async (session, _name, fullName) => {
  const members = await session.nameServer.list(fullName);
  session.output.line(fullName);
  await showMembers(session, members, fullName, '');
});

async function showMembers(session: Session, members: ListEntry[], group: string, indent: string): Promise<void> {
  const { output } = session;
  for (const [index, entry] of members.sort(byPart).entries()) {
    const isLast = index === members.length - 1;
    const name = group === ':' ? `:${entry.part}` : `${group}.${entry.part}`;
    const part = printable(entry.part);
    const text = entry.type === GROUP ? output.styled('cyan', `[${part}]`) : part;
    output.result({ name, type: kindOf(entry) }, `${indent}${isLast ? '└── ' : '├── '}${text}`);
    if (entry.type !== GROUP) continue;
    const below = await membersStill(session, name);
    await showMembers(session, below, name, `${indent}${isLast ? '    ' : '│   '}`);
  }
}

/** A group that was removed meanwhile has no members. */
async function membersStill({ nameServer }: Session, group: string): Promise<ListEntry[]> {
  try {
    return await nameServer.list(group);
  } catch (error) {
    if (error instanceof NamingError) return [];
    throw error;
  }
}

/** The commands that ask a name server something, by their names. */
export const COMMANDS = {
  ping: async ({ nameServer, output }) => {
    await nameServer.ping();
    output.result({ uri: nameServer.URI.toString() }, 'NS is up and running!');
  },
  list: (session, groups) => listGroup(session, groups.length === 0 ? [''] : groups),
  listall: listAll,
  tree: (session, groups) => showTree(session, groups.length === 0 ? [':'] : groups),
  resolve: forEachName("can't resolve", async ({ nameServer, output }, name, fullName) => {
    const uri = printable((await nameServer.resolve(name)).toString());
    output.result({ name: fullName, uri }, `${name}  --> ${uri}`);
  }),
  register,
  remove: forEachName("can't unregister", async ({ nameServer, output }, name, fullName) => {
    await nameServer.unregister(name);
    output.result({ name: fullName }, `${name} unregistered.`);
  }),
  creategroup: forEachName("can't create group", async ({ nameServer, output }, name, fullName) => {
    await nameServer.createGroup(name);
    output.result({ name: fullName }, `${name} created.`);
  }),
  deletegroup: forEachName("can't delete group", async ({ nameServer, output }, name, fullName) => {
    await nameServer.deleteGroup(name);
    output.result({ name: fullName }, `${name} deleted.`);
  }),
  showmeta: showMeta,
  setmeta: async ({ nameServer, output }, [name = '', meta = '']) => {
    await nameServer.setMeta(name, meta);
    output.result({ name: nameServer.fullName(name) }, `Metadata of ${name} set.`);
  },
  resync: async ({ nameServer, output }) => {
    await nameServer.resync();
    output.result({ uri: nameServer.URI.toString() }, 'resync done');
  },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof COMMANDS;
