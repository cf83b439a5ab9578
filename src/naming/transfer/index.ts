/** Export and import of namespaces as JSON Lines, from and to a store or a name server. */
export { readEntryLine, writeEntryLine } from './entry-line.js';
export { importEntries } from './import.js';
export type { ExistingNames, ImportOptions, ImportReport } from './import.js';
export { RemoteNamespace } from './remote-namespace.js';
export type { ExportSource, ImportTarget } from './remote-namespace.js';
export { LineReader, type Line } from './lines.js';
