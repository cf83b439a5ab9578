// The rooms of src/, floor by floor: a room imports only from rooms on floors below its own.
const floors = [
  ['refusals.ts'],
  ['errors.ts'],
  ['names', 'pickle', 'sync'],
  ['config', 'wire'],
  ['namespace', 'rpc'],
  ['naming'],
  ['console', 'metrics'],
  ['commands'],
  ['index.ts'],
];

const pathOf = (room) => (room.endsWith('.ts') ? `^src/${room.replace('.', '\\.')}$` : `^src/${room}/`);

const onlyDownward = floors.flatMap((rooms, floor) =>
  rooms.map((room) => ({
    name: `${room}-imports-only-downward`,
    comment: `${room} is on floor ${floor}: it may import itself and the floors below`,
    severity: 'error',
    from: { path: pathOf(room) },
    to: {
      path: '^src/',
      pathNot: [room, ...floors.slice(0, floor).flat()].map(pathOf),
    },
  })),
);

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...onlyDownward,
    {
      name: 'no-cycles',
      comment: 'of types either: who reads one file of a cycle has to read all of them',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'through-the-face',
      comment: 'another room is entered through its index.ts, which says what others may use',
      severity: 'error',
      from: { path: '^src/([^/]+)/' },
      to: { path: '^src/[^/]+/', pathNot: ['^src/$1/', '^src/[^/]+/index\\.ts$'] },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
  },
};
