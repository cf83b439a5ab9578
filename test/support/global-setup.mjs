export { createTemporaryDirectory as default } from './temporary-directory.mjs';
