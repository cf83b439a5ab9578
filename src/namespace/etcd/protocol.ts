/**
 * The part of etcd's API, version 3, that is used here: calls and messages, encoded as protocol buffers.
 *
 * The names and the field numbers are those of `rpc.proto` and `kv.proto` in etcd's `api` (Apache License 2.0), which
 * are stable from etcd 3.4 on. Keys are decoded as text: all keys of a name server are ASCII.
 */
import protobuf from 'protobufjs/minimal.js';

type Reader = protobuf.Reader;
type Writer = protobuf.Writer;

/** A gRPC method: its path, and how its messages are encoded. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly encode: (request: Request) => Buffer;
  readonly decode: (bytes: Buffer) => Response;
}

/** A single key, or with `end` all keys from `key` (included) to `end` (excluded). */
export interface KeyRange {
  readonly key: string;
  readonly end?: string;
}

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  /** The revision of the last change. */
  readonly modRevision: number;
}

/** A condition of a transaction. A key that does not exist has `version` 0 and `modRevision` 0. */
export interface Comparison {
  readonly key: string;
  readonly result: 'equal' | 'greater' | 'not equal';
  readonly operand: { readonly version: number } | { readonly modRevision: number } | { readonly value: string };
}

export interface RangeRequest extends KeyRange {
  /** Maximum number of key-values to return. */
  readonly limit?: number;
  /** The revision to read at; the newest without it. */
  readonly revision?: number;
}

export interface RangeResponse {
  /** The revision of the whole store at the time of the read. */
  readonly revision: number;
  readonly keyValues: readonly KeyValue[];
  /** There are more than the limit. */
  readonly more: boolean;
}

/** A step of a transaction. */
export type Operation =
  | { readonly put: string; readonly value: string | Uint8Array; readonly lease?: number }
  | { readonly delete: KeyRange }
  | { readonly range: RangeRequest }
  /**
   * A nested transaction. Its conditions are checked against the state before the outermost transaction. No key may be changed
   * twice in the outermost transaction.
   */
  | { readonly transaction: TransactionRequest };

export interface TransactionRequest {
  readonly compare: readonly Comparison[];
  /** Done if all comparisons hold. */
  readonly success: readonly Operation[];
  /** Done if any comparison fails. */
  readonly failure: readonly Operation[];
}

export interface TransactionResponse {
  /** The revision that the transaction created, if it changed anything; else the current one. */
  readonly revision: number;
  readonly succeeded: boolean;
  /** The results of its range operations. */
  readonly ranges: readonly RangeResponse[];
  /** The results of its nested transactions. */
  readonly transactions: readonly TransactionResponse[];
}

export interface WatchRequest extends KeyRange {
  /** The first revision to report events of. */
  readonly startRevision: number;
}

/** A change of a key: `value` is undefined if it was deleted. */
export interface KeyEvent {
  readonly key: string;
  readonly value: Uint8Array | undefined;
  readonly modRevision: number;
}

export interface WatchResponse {
  readonly created: boolean;
  /** No more events will come. */
  readonly canceled: boolean;
  readonly cancelReason: string;
  /** Greater than 0 if the requested revisions were compacted: the oldest revision that etcd still has. */
  readonly compactRevision: number;
  /** In the order of their revisions. The events of one revision always come in one response. */
  readonly events: readonly KeyEvent[];
}

export interface LeaseGrantRequest {
  /** Chosen by the client. It must be unique among all leases. */
  readonly id: number;
  readonly seconds: number;
}

export interface LeaseGrantResponse {
  readonly seconds: number;
}

export interface AuthenticateRequest {
  readonly name: string;
  readonly password: string;
}

export interface AuthenticateResponse {
  readonly token: string;
}

/** Reads keys. The read is linearizable: the result was true at some moment between call and answer. */
export const RANGE: Method<RangeRequest, RangeResponse> = {
  path: '/etcdserverpb.KV/Range',
  encode: (request) => encoded(writeRange, request),
  decode: (bytes) => readRangeResponse(protobuf.Reader.create(bytes), bytes.length),
};

/** Checks conditions, and does one list of operations or the other, atomically. */
export const TRANSACTION: Method<TransactionRequest, TransactionResponse> = {
  path: '/etcdserverpb.KV/Txn',
  encode: (request) => encoded(writeTransaction, request),
  decode: (bytes) => readTransactionResponse(protobuf.Reader.create(bytes), bytes.length),
};

/** Streams the changes of a range. */
export const WATCH: Method<WatchRequest, WatchResponse> = {
  path: '/etcdserverpb.Watch/Watch',
  encode: (request) => encoded(writeWatch, request),
  decode: (bytes) => readWatchResponse(protobuf.Reader.create(bytes), bytes.length),
};

/** Creates a lease, which is a TTL for keys: keys that are put with it are deleted when it expires. */
export const LEASE_GRANT: Method<LeaseGrantRequest, LeaseGrantResponse> = {
  path: '/etcdserverpb.Lease/LeaseGrant',
  encode: (request) => encoded(writeLeaseGrant, request),
  decode: (bytes) => readLeaseGrantResponse(protobuf.Reader.create(bytes), bytes.length),
};

/** Gets the token that a user's other calls carry as metadata. */
export const AUTHENTICATE: Method<AuthenticateRequest, AuthenticateResponse> = {
  path: '/etcdserverpb.Auth/Authenticate',
  encode: (request) => encoded(writeAuthenticate, request),
  decode: (bytes) => readAuthenticateResponse(protobuf.Reader.create(bytes), bytes.length),
};

type Write<Message> = (writer: Writer, message: Message) => void;

const VARINT = 0;
const LENGTH_DELIMITED = 2;

const tag = (field: number, wireType: number): number => (field << 3) | wireType;

function encoded<Message>(write: Write<Message>, message: Message): Buffer {
  const writer = protobuf.Writer.create();
  write(writer, message);
  const { buffer, byteOffset, byteLength } = writer.finish();
  return Buffer.from(buffer, byteOffset, byteLength);
}

function writeInteger(writer: Writer, field: number, value: number): void {
  writer.uint32(tag(field, VARINT)).int64(value);
}

function writeBytes(writer: Writer, field: number, value: string | Uint8Array): void {
  writer.uint32(tag(field, LENGTH_DELIMITED));
  if (typeof value === 'string') writer.string(value);
  else writer.bytes(value);
}

function writeMessage<Message>(writer: Writer, field: number, write: Write<Message>, message: Message): void {
  writer.uint32(tag(field, LENGTH_DELIMITED)).fork();
  write(writer, message);
  writer.ldelim();
}

/** The fields that RangeRequest, DeleteRangeRequest and WatchCreateRequest begin with. */
function writeKeyRange(writer: Writer, { key, end }: KeyRange): void {
  writeBytes(writer, 1, key);
  if (end !== undefined) writeBytes(writer, 2, end);
}

function writeRange(writer: Writer, request: RangeRequest): void {
  writeKeyRange(writer, request);
  if (request.limit !== undefined) writeInteger(writer, 3, request.limit);
  if (request.revision !== undefined) writeInteger(writer, 4, request.revision);
}

function writePut(writer: Writer, operation: { put: string; value: string | Uint8Array; lease?: number }): void {
  writeBytes(writer, 1, operation.put);
  writeBytes(writer, 2, operation.value);
  if (operation.lease !== undefined) writeInteger(writer, 3, operation.lease);
}

function writeOperation(writer: Writer, operation: Operation): void {
  if ('range' in operation) writeMessage(writer, 1, writeRange, operation.range);
  else if ('put' in operation) writeMessage(writer, 2, writePut, operation);
  else if ('delete' in operation) writeMessage(writer, 3, writeKeyRange, operation.delete);
  else writeMessage(writer, 4, writeTransaction, operation.transaction);
}

const COMPARE_RESULTS = { equal: 0, greater: 1, 'not equal': 3 };
const COMPARE_TARGETS = { version: 0, modRevision: 2, value: 3 };

function writeComparison(writer: Writer, { key, result, operand }: Comparison): void {
  writeInteger(writer, 1, COMPARE_RESULTS[result]);
  writeBytes(writer, 3, key);
  if ('version' in operand) {
    writeInteger(writer, 2, COMPARE_TARGETS.version);
    writeInteger(writer, 4, operand.version);
  } else if ('modRevision' in operand) {
    writeInteger(writer, 2, COMPARE_TARGETS.modRevision);
    writeInteger(writer, 6, operand.modRevision);
  } else {
    writeInteger(writer, 2, COMPARE_TARGETS.value);
    writeBytes(writer, 7, operand.value);
  }
}

function writeTransaction(writer: Writer, { compare, success, failure }: TransactionRequest): void {
  for (const comparison of compare) writeMessage(writer, 1, writeComparison, comparison);
  for (const operation of success) writeMessage(writer, 2, writeOperation, operation);
  for (const operation of failure) writeMessage(writer, 3, writeOperation, operation);
}

function writeWatch(writer: Writer, request: WatchRequest): void {
  writeMessage(writer, 1, writeWatchCreation, request);
}

function writeWatchCreation(writer: Writer, request: WatchRequest): void {
  writeKeyRange(writer, request);
  writeInteger(writer, 3, request.startRevision);
}

function writeLeaseGrant(writer: Writer, { id, seconds }: LeaseGrantRequest): void {
  writeInteger(writer, 1, seconds);
  writeInteger(writer, 2, id);
}

function writeAuthenticate(writer: Writer, { name, password }: AuthenticateRequest): void {
  writeBytes(writer, 1, name);
  writeBytes(writer, 2, password);
}

/** Calls `read` for each field of a message. It reads the value and returns true, or returns false to have it skipped. */
function readFields(reader: Reader, length: number, read: (field: number) => boolean): void {
  const end = reader.pos + length;
  while (reader.pos < end) {
    const fieldTag = reader.uint32();
    if (!read(fieldTag >>> 3)) reader.skipType(fieldTag & 7);
  }
}

/** Reads an int64. All of them are revisions or seconds, which stay below 2^53. */
function readInteger(reader: Reader): number {
  const { high, low } = reader.int64();
  return high * 2 ** 32 + (low >>> 0);
}

function readRevision(reader: Reader, length: number): number {
  let revision = 0;
  readFields(reader, length, (field) => {
    if (field === 3) revision = readInteger(reader);
    return field === 3;
  });
  return revision;
}

const NO_KEY_VALUE: KeyValue = { key: '', value: new Uint8Array(0), modRevision: 0 };

function readKeyValue(reader: Reader, length: number): KeyValue {
  let { key, value, modRevision } = NO_KEY_VALUE;
  readFields(reader, length, (field) => {
    if (field === 1) key = reader.string();
    else if (field === 3) modRevision = readInteger(reader);
    else if (field === 5) value = reader.bytes();
    else return false;
    return true;
  });
  return { key, value, modRevision };
}

function readRangeResponse(reader: Reader, length: number): RangeResponse {
  let revision = 0;
  const keyValues: KeyValue[] = [];
  let more = false;
  readFields(reader, length, (field) => {
    if (field === 1) revision = readRevision(reader, reader.uint32());
    else if (field === 2) keyValues.push(readKeyValue(reader, reader.uint32()));
    else if (field === 3) more = reader.bool();
    else return false;
    return true;
  });
  return { revision, keyValues, more };
}

function readTransactionResponse(reader: Reader, length: number): TransactionResponse {
  let revision = 0;
  let succeeded = false;
  const ranges: RangeResponse[] = [];
  const transactions: TransactionResponse[] = [];
  const readResult = (field: number): boolean => {
    if (field === 1) ranges.push(readRangeResponse(reader, reader.uint32()));
    else if (field === 4) transactions.push(readTransactionResponse(reader, reader.uint32()));
    else return false;
    return true;
  };
  readFields(reader, length, (field) => {
    if (field === 1) revision = readRevision(reader, reader.uint32());
    else if (field === 2) succeeded = reader.bool();
    else if (field === 3) readFields(reader, reader.uint32(), readResult);
    else return false;
    return true;
  });
  return { revision, succeeded, ranges, transactions };
}

const DELETED = 1;

function readEvent(reader: Reader, length: number): KeyEvent {
  let type = 0;
  let { key, value, modRevision } = NO_KEY_VALUE;
  readFields(reader, length, (field) => {
    if (field === 1) type = reader.uint32();
    else if (field === 2) ({ key, value, modRevision } = readKeyValue(reader, reader.uint32()));
    else return false;
    return true;
  });
  return { key, value: type === DELETED ? undefined : value, modRevision };
}

function readWatchResponse(reader: Reader, length: number): WatchResponse {
  let created = false;
  let canceled = false;
  let cancelReason = '';
  let compactRevision = 0;
  const events: KeyEvent[] = [];
  readFields(reader, length, (field) => {
    if (field === 3) created = reader.bool();
    else if (field === 4) canceled = reader.bool();
    else if (field === 5) compactRevision = readInteger(reader);
    else if (field === 6) cancelReason = reader.string();
    else if (field === 11) events.push(readEvent(reader, reader.uint32()));
    else return false;
    return true;
  });
  return { created, canceled, cancelReason, compactRevision, events };
}

function readLeaseGrantResponse(reader: Reader, length: number): LeaseGrantResponse {
  let seconds = 0;
  readFields(reader, length, (field) => {
    if (field === 3) seconds = readInteger(reader);
    return field === 3;
  });
  return { seconds };
}

function readAuthenticateResponse(reader: Reader, length: number): AuthenticateResponse {
  let token = '';
  readFields(reader, length, (field) => {
    if (field === 2) token = reader.string();
    return field === 2;
  });
  return { token };
}
