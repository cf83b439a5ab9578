/** The tree of groups and objects, and the stores that keep it. */
export { MemoryNamespace } from './memory.js';
export { GROUP, OBJECT } from './namespace.js';
export type { ListEntry, Namespace, NamespaceEntry, NodeType, SystemMeta } from './namespace.js';
export { systemMetaFromPython, systemMetaToPython } from './system-meta.js';
