/**
 * What a name server says when it refuses: Pyro 3's own texts, with the absolute name as the second argument. All
 * stores take them from here, so that a client can't tell one store from another.
 */
import { NamingError } from '../errors.js';
import type { Name } from '../names/index.js';

export const nameNotFound = (name: Name) => new NamingError('name not found', name.toString());
export const nameExists = (name: Name) => new NamingError('name already exists', name.toString());
export const nameInvalid = (name: Name) => new NamingError('invalid name', name.toString());
export const nameTooLong = (name: Name) => new NamingError('name too long', name.toString());
/** Something stands where an object should, that is no URI: only a store that others write to has such things. */
export const uriInvalid = (name: Name) => new NamingError('invalid URI', name.toString());
export const isGroupNotObject = (name: Name) => new NamingError('is a group, not an object', name.toString());
export const resolvedGroup = (name: Name) => new NamingError('attempt to resolve groupname', name.toString());

export const groupNotFound = (group: Name) => new NamingError('group not found', group.toString());
export const groupExists = (group: Name) => new NamingError('group already exists', group.toString());
export const isNoGroup = (name: Name) => new NamingError('is no group', name.toString());
/** The log says which file. */
export const holdsForeignFiles = (group: Name) =>
  new NamingError('group holds files that are no names', group.toString());
export const rootNotDeletable = () => new NamingError('not allowed to delete root group', ':');

export const parentNotFound = (name: Name) => new NamingError('(parent)group not found', name.toString());
export const parentIsNoGroup = (name: Name) => new NamingError('parent is no group', name.toString());

// What only a store says that is not on this machine.
export const unavailable = (name: Name) => new NamingError('namespace is unavailable', name.toString());
export const unavailableForChange = (name: Name) =>
  new NamingError('namespace is unavailable, nothing was changed', name.toString());
export const changeUncertain = (name: Name) =>
  new NamingError('namespace is unavailable, the change may have been made', name.toString());
