interface Metric {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value?: string;
}

interface Family {
  readonly name: string;
  readonly type: string;
  readonly metrics: readonly Metric[];
}

/** Reads the Prometheus text format. */
export function parsePrometheusTextFormat(text: string): Family[];
