/** The PYRO_* items: one table with type, default and meaning; read from file and environment; and the log they set up. */
export { defaultConfig, loadConfig, misspeltVariables, readIdentification } from './config.js';
export type { ConfigSource } from './config.js';
export { CONFIG_GROUPS, CONFIG_ITEMS } from './items.js';
export type { Config, ConfigItem, ConfigItemName } from './items.js';
export { createLog, createUserLog, defaultLog, silentLog } from './log.js';
export type { Log } from './log.js';
export { isOwnedByUsOrRoot } from './ownership.js';
export { PeerLog } from './peer-log.js';
export { printable, printableJSON } from './printable.js';
export { readSecretFile } from './text-file.js';
export { VERSION } from './version.js';
