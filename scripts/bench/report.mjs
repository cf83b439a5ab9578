// The figures of a run as tables.

function median(figures) {
  const sorted = [...figures].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const perSecond = (figures) => (figures.length === 0 ? '' : Math.round(median(figures)).toLocaleString('en-US'));

/** Of each round its own ratio, then the median of these: what slows a machine down slows both. */
const ratio = (figures, others) => median(figures.map((figure, round) => figure / others[round]));

function table(rows, stream) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const pad = (cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]));
  for (const [index, row] of rows.entries()) {
    stream.write(`| ${row.map(pad).join(' | ')} |\n`);
    if (index === 0) stream.write(`|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|\n`);
  }
}

/**
 * @param cases { name, targets } of each case
 * @param columns the servers' names
 * @param figures by case and column: calls per second, one per round
 */
export function printResults(cases, columns, figures, stream) {
  stream.write('\nCalls per second, medians:\n\n');
  table(
    [
      ['', ...columns],
      ...cases.map(({ name }) => [name, ...columns.map((it) => perSecond(figures.get(name).get(it)))]),
    ],
    stream,
  );
  const verdicts = cases.flatMap(({ name, targets = [] }) =>
    targets
      .filter(({ over }) => columns.includes(over))
      .map(({ of, over, times }) => {
        const reached = ratio(figures.get(name).get(of), figures.get(name).get(over));
        return [name, `${of} / ${over}`, reached.toFixed(2), String(times), reached >= times ? 'yes' : 'NO'];
      }),
  );
  if (verdicts.length === 0) return;
  stream.write('\nTargets:\n\n');
  table([['', 'ratio of', 'ratio', 'to reach', 'reached'], ...verdicts], stream);
}
