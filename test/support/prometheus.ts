import { parsePrometheusTextFormat } from './prometheus-parser.mjs';

// The format by its specification: most parsers take more than that.
const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\\\\n]|\\\\["\\\\n])*)"';
const VALUE = '[+-]?(?:\\d+\\.?\\d*(?:e[+-]?\\d+)?|Inf)|NaN';
const DESCRIPTION = new RegExp(`^# (?:HELP ${NAME} .+|TYPE (${NAME}) (counter|gauge|histogram))$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (${VALUE})$`);

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What was scraped. */
export class Scrape {
  private constructor(
    readonly samples: readonly Sample[],
    /** Of metrics by their names. */
    readonly types: ReadonlyMap<string, string>,
  ) {}

  /** Parses it, and lets a parser that others use do it too. @throws Error where it is not in the Prometheus text format */
  static parse(text: string): Scrape {
    if (!text.endsWith('\n')) throw new Error('the last line does not end');
    const samples: Sample[] = [];
    const types = new Map<string, string>();
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const description = DESCRIPTION.exec(line);
      const [, described, type] = description ?? [];
      if (described !== undefined && type !== undefined) types.set(described, type);
      if (description === null) samples.push(parseSample(line, types));
    }
    const scrape = new Scrape(samples, types);
    scrape.requireSame(text);
    return scrape;
  }

  /** The value of the one sample that has these labels, and maybe others; undefined where there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.select(name, labels);
    if (found.length > 1) throw new Error(`${found.length} samples of ${name} have these labels`);
    return found[0]?.value;
  }

  /** Samples that have these labels, and maybe others, in their order. */
  select(name: string, labels: Readonly<Record<string, string>> = {}): readonly Sample[] {
    const wanted = Object.entries(labels);
    return this.samples.filter(
      (sample) => sample.name === name && wanted.every(([label, value]) => sample.labels[label] === value),
    );
  }

  /** The other parser mixes up the histograms of a family, so it is asked for the rest. */
  private requireSame(text: string): void {
    const theirs = new Map<string, string>();
    for (const { name, type, metrics } of parsePrometheusTextFormat(text)) {
      if (type === 'HISTOGRAM') continue;
      for (const { labels, value } of metrics) theirs.set(keyOf(name, labels ?? {}), String(Number(value)));
    }
    for (const { name, labels, value } of this.samples) {
      if (!this.types.has(name)) continue;
      const other = theirs.get(keyOf(name, labels));
      if (other !== String(value)) throw new Error(`${name}: one parser reads ${value}, the other ${other}`);
    }
  }
}

const keyOf = (name: string, labels: Readonly<Record<string, string>>): string =>
  JSON.stringify([name, Object.entries(labels).sort()]);

function parseSample(line: string, types: ReadonlyMap<string, string>): Sample {
  const parts: readonly string[] | null = SAMPLE.exec(line);
  const [, name = '', labels = ''] = parts ?? [];
  if (parts === null) throw new Error(`not in the format: ${line}`);
  const family = types.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, '');
  if (!types.has(family)) throw new Error(`of no type: ${line}`);
  const pairs = Array.from(
    labels.matchAll(new RegExp(LABEL, 'g')),
    ([, label = '', value = '']) => [label, value] as const,
  );
  const value = line.slice(line.lastIndexOf(' ') + 1);
  return { name, labels: Object.fromEntries(pairs), value: Number(value.replace('Inf', 'Infinity')) };
}
