import { defaultConfig, readIdentification, silentLog } from '../../config/index.js';
import { GROUP } from '../../namespace/index.js';
import { NameServerLocator, type Whereabouts } from '../../naming/index.js';

/** Commands whose arguments are names that exist. */
const COMPLETED = new Set(['list', 'tree', 'resolve', 'remove', 'deletegroup', 'creategroup', 'showmeta', 'setmeta']);

/** Somebody waits for the completion at his keyboard. */
const PATIENCE = { PYRO_BC_RETRIES: 0, PYRO_BC_TIMEOUT: 0.5, PYRO_HANDSHAKE_TIMEOUT: 1 };

/** True where what stands behind the command is completed from the names of the running name server. */
export const isCompleted = (command: string): boolean => COMPLETED.has(command);

/**
 * The names that begin with what is typed; of a group, with the dot that its members' names have behind it.
 * @throws as the locator
 */
export async function matchingNames(
  current: string,
  where: Whereabouts,
  identification: string | undefined,
): Promise<string[]> {
  const config = { ...defaultConfig(), ...PATIENCE };
  const passphrase = identification ?? readIdentification(config);
  const locator = new NameServerLocator({ config, log: silentLog, identification: passphrase });
  await using nameServer = await locator.getNS(where);
  const end = Math.max(current.lastIndexOf('.'), current.startsWith(':') ? 0 : -1);
  const typed = current.slice(0, end + 1);
  const members = await nameServer.list(end > 0 ? current.slice(0, end) : typed);
  return members
    .map(({ part, type }) => `${typed}${part}${type === GROUP ? '.' : ''}`)
    .filter((name) => name.startsWith(current));
}
