// Lets those with a passphrase look everything up, and each of them change the names of one group.
import { readFileSync } from 'node:fs';
import { BCReqValidator, DeniedReason, DefaultConnValidator } from 'pyro-ns';

// One line for each user: a passphrase, and the group that is his, such as ":lab"; ":" for all groups.
const lines = readFileSync(process.env.NS_USERS, 'utf8').trim().split('\n');

const users = lines.map((line) => {
  const [passphrase, group] = line.split(' ');
  const validator = new DefaultConnValidator();
  validator.setAllowedIdentifications([passphrase]);
  return { validator, group: group === ':' ? ':' : `${group}.` };
});

/** What changes nothing. */
const READING = new Set([
  'ping',
  'resolve',
  'list',
  'flatlist',
  'getMeta',
  '_getSystemMeta',
  '_r_ha',
  '_changes',
  '_status',
]);

class Permissions extends DefaultConnValidator {
  #users = new WeakMap();

  acceptIdentification(...attempt) {
    const user = users.find(({ validator }) => validator.acceptIdentification(...attempt) === undefined);
    if (user === undefined) return DeniedReason.Security;
    const [, connection] = attempt;
    this.#users.set(connection, user);
    return undefined;
  }

  acceptOperation(operation, name, connection) {
    if (READING.has(operation)) return true;
    const { group } = this.#users.get(connection);
    return group === ':' || name?.startsWith(group) === true;
  }
}

/** Broadcasts come without a passphrase: so nobody may stop the name server by one. */
class Broadcasts extends BCReqValidator {
  acceptShutdownCmd() {
    this.reply('Shutdown request denied');
    return false;
  }
}

export const NSGuard = () => new Permissions();
export const BCGuard = () => new Broadcasts();
