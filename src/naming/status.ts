import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

/** The state of a name server: what `_status` returns, as a dict. */
export type NameServerStatus = Static<typeof NameServerStatus>;

const Count = Type.Number({ minimum: 0 });
const OptionalText = Type.Union([Type.String(), Type.Null()]);

const NameServerStatus = Type.Object({
  /** This package's version. */
  version: Type.String(),
  role: Type.Union([Type.Literal('single'), Type.Literal('primary'), Type.Literal('secondary')]),
  /** When the server was started, in seconds since 1970. */
  since: Count,
  store: Type.Object({
    kind: Type.Union([Type.Literal('memory'), Type.Literal('directory'), Type.Literal('etcd')]),
    /** Why names can't be read or changed as they should; None if they can. */
    problem: OptionalText,
    /** Only for etcd: the endpoint in use, and for how many seconds etcd has been unreachable (None: it is not). */
    endpoint: OptionalText,
    awaySeconds: Type.Union([Count, Type.Null()]),
  }),
  /** The number of names; None if they could not be counted yet. */
  names: Type.Union([Type.Object({ groups: Count, objects: Count }), Type.Null()]),
  /** The connections open now, and those accepted and refused since the start. */
  connections: Type.Object({ open: Count, accepted: Count, refused: Count }),
  /** How many entries of dead objects were removed (PYRO_NS_AUTOCLEAN). */
  autoCleaned: Count,
  /** The other name server of the pair: see TwinStatus; None for a single server. */
  twin: Type.Union([
    Type.Object({
      uri: OptionalText,
      software: OptionalText,
      state: Type.Union([Type.Literal('connected'), Type.Literal('merging'), Type.Literal('lost')]),
      unconfirmed: Count,
      mergeDue: Type.Boolean(),
      problem: OptionalText,
    }),
    Type.Null(),
  ]),
});

/** True if a value is what `_status` of a name server of this package returns. */
export function isNameServerStatus(value: unknown): value is NameServerStatus {
  return Value.Check(NameServerStatus, value);
}
