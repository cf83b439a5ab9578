// The parser has no types of its own, and is a CommonJS module.
export { default as parsePrometheusTextFormat } from 'parse-prometheus-text-format';
