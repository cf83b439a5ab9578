/**
 * What a name server says when it refuses: Pyro 3's own texts, with the absolute name as the second argument. All
 * stores take them from here, so that a client can't tell one store from another.
 */
import { NamingError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { Name } from '../names/index.js';

export const nameNotFound = (name: Name) => new NamingError(refusalText('NAME_NOT_FOUND'), name.toString());
export const nameExists = (name: Name) => new NamingError(refusalText('NAME_EXISTS'), name.toString());
export const nameInvalid = (name: Name) => new NamingError(refusalText('NAME_INVALID'), name.toString());
export const nameTooLong = (name: Name) => new NamingError(refusalText('NAME_TOO_LONG'), name.toString());
/** Something stands where an object should, that is no URI: only a store that others write to has such things. */
export const uriInvalid = (name: Name) => new NamingError(refusalText('URI_INVALID'), name.toString());
export const isGroupNotObject = (name: Name) => new NamingError(refusalText('NOT_AN_OBJECT'), name.toString());
export const resolvedGroup = (name: Name) => new NamingError(refusalText('RESOLVED_GROUP'), name.toString());

export const groupNotFound = (group: Name) => new NamingError(refusalText('GROUP_NOT_FOUND'), group.toString());
export const groupExists = (group: Name) => new NamingError(refusalText('GROUP_EXISTS'), group.toString());
export const isNoGroup = (name: Name) => new NamingError(refusalText('NOT_A_GROUP'), name.toString());
/** The log says which file. */
export const holdsForeignFiles = (group: Name) =>
  new NamingError(refusalText('GROUP_HOLDS_FOREIGN_FILES'), group.toString());
export const rootNotDeletable = () => new NamingError(refusalText('ROOT_NOT_DELETABLE'), ':');

export const parentNotFound = (name: Name) => new NamingError(refusalText('PARENT_NOT_FOUND'), name.toString());
export const parentIsNoGroup = (name: Name) => new NamingError(refusalText('PARENT_NOT_A_GROUP'), name.toString());

// What only a store says that is not on this machine.
export const unavailable = (name: Name) => new NamingError(refusalText('UNAVAILABLE'), name.toString());
export const unavailableForChange = (name: Name) =>
  new NamingError(refusalText('UNAVAILABLE_FOR_CHANGE'), name.toString());
export const changeUncertain = (name: Name) => new NamingError(refusalText('CHANGE_UNCERTAIN'), name.toString());
