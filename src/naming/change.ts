import type { Name, PyroURI } from '../names/index.js';
import type { Namespace, SystemMeta } from '../namespace/index.js';
import type { PythonValue } from '../pickle/index.js';

/** A change that a client asks for, with an absolute name. */
export type Change =
  | { readonly kind: 'register'; readonly name: Name; readonly uri: PyroURI }
  | { readonly kind: 'unregister'; readonly name: Name }
  | { readonly kind: 'createGroup'; readonly name: Name }
  | { readonly kind: 'deleteGroup'; readonly name: Name }
  | { readonly kind: 'setMeta'; readonly name: Name; readonly meta: PythonValue }
  | { readonly kind: 'setSystemMeta'; readonly name: Name; readonly meta: SystemMeta };

/** Applies a change to a namespace. @throws NamingError where the namespace refuses it */
export function applyChange(namespace: Namespace, change: Change): Promise<void> {
  switch (change.kind) {
    case 'register':
      return namespace.register(change.name, change.uri);
    case 'unregister':
      return namespace.unregister(change.name);
    case 'createGroup':
      return namespace.createGroup(change.name);
    case 'deleteGroup':
      return namespace.deleteGroup(change.name);
    case 'setMeta':
      return namespace.setMeta(change.name, change.meta);
    case 'setSystemMeta':
      return namespace.setSystemMeta(change.name, change.meta);
  }
}
