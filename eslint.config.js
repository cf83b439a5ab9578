import js from '@eslint/js';
import jest from 'eslint-plugin-jest';
import tseslint from 'typescript-eslint';

const MESSAGE = "MemberExpression[property.name='message']";
const OWN_ERRORS =
  '(PyroError|URIError|NamingError|DaemonError|(Protocol|ConnectionClosed|ConnectionDenied|Timeout)Error)';

/** Texts of errors are for people: src/refusals.ts has them all, each with a code. */
const comparedTexts = [
  `BinaryExpression[operator=/^[!=]==?$/] > ${MESSAGE}`,
  `SwitchStatement > ${MESSAGE}.discriminant`,
  `CallExpression > MemberExpression.callee[property.name=/^(includes|startsWith|endsWith|match|search|indexOf)$/] > ${MESSAGE}.object`,
  `CallExpression[callee.property.name=/^(has|get|test|exec|includes)$/] > ${MESSAGE}.arguments`,
].map((selector) => ({ selector, message: "Compare the error's code: texts are for people." }));

const loneTexts = ['Literal', 'TemplateLiteral'].map((kind) => ({
  selector: `NewExpression[callee.name=/^${OWN_ERRORS}$/] > ${kind}.arguments:first-child`,
  message: 'Take the text from the table in src/refusals.ts, which gives it a code.',
}));

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'storage/', 'docs/api/'] },
  js.configs.recommended,
  {
    files: ['**/*.{ts,cts,tsx}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'never' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/prefer-readonly': 'error',
      // Does not end on types that contain themselves, as PythonValue does.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      // Constant conditions: `while (true)` is how a read loop is written.
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: 'always' }],
    },
  },
  {
    files: ['src/**/*.{ts,cts,tsx}'],
    rules: {
      'no-console': 'error',
      complexity: ['error', 20],
      'max-lines-per-function': ['error', { max: 80, skipBlankLines: true, skipComments: true }],
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Only src/config reads the environment.' },
      ],
    },
  },
  {
    files: ['src/**/*.{ts,cts,tsx}'],
    ignores: ['**/*.{test,model,suite}.ts'],
    rules: { 'no-restricted-syntax': ['error', ...comparedTexts, ...loneTexts] },
  },
  // What a command tells its user goes to no peer and no program.
  { files: ['src/commands/**'], rules: { 'no-restricted-syntax': ['error', ...comparedTexts] } },
  // The latter sets a variable that Node itself reads, before anything else runs.
  { files: ['src/config/**/*.ts', 'src/commands/pyro-ns.cts'], rules: { 'no-restricted-properties': 'off' } },
  {
    files: ['**/*.mjs', '**/*.cjs', '*.js'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        module: 'readonly',
        AbortController: 'readonly',
        URL: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        setImmediate: 'readonly',
        performance: 'readonly',
      },
    },
  },
  {
    files: ['**/*.test.ts', 'test/**/*.ts'],
    plugins: { jest },
    rules: {
      ...jest.configs['flat/recommended'].rules,
      'jest/no-standalone-expect': 'off',
      // A test without one passes whatever the code does. Helpers that assert are named expectX.
      'jest/expect-expect': ['error', { assertFunctionNames: ['expect', 'expect*', 'fc.assert'] }],
      'max-lines-per-function': 'off',
      'no-restricted-properties': 'off',
    },
  },
);
