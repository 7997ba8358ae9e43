/** @jest-config-loader esbuild-register */
import { spawnSync } from 'node:child_process';
import { basename } from 'node:path';
import type { Config } from 'jest';

// Native ES modules need a flag of Node's. `npm test` passes it; a bare `npx jest` starts itself again with it, once.
const nodeFlags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
const nodeFlagsGiven = `${process.execArgv.join(' ')} ${process.env.NODE_OPTIONS ?? ''}`;
const [, script = '', ...args] = process.argv;

if (/^jest(\.js)?$/.test(basename(script)) && !nodeFlagsGiven.includes('--experimental-vm-modules')) {
  const { status } = spawnSync(process.execPath, [...process.execArgv, ...nodeFlags, script, ...args], {
    stdio: 'inherit',
  });
  process.exit(status ?? 1);
}

const config: Config = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // Most tests wait for a provider, a store or a process: one worker a core, started anew before it grows large.
  maxWorkers: '100%',
  workerIdleMemoryLimit: '1GB',
  // More cases a property (test/support/properties.ts) take longer.
  testTimeout: 20_000 * Number(process.env.PROPERTY_RUNS ?? 1),
  injectGlobals: false,
  watchman: false,
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^express-oidc-tokens$': '<rootDir>/src/index.ts' },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2023', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    ],
  },
  coverageProvider: 'v8',
  coverageDirectory: 'coverage',
  collectCoverageFrom: ['src/**/*.ts'],
};

export default config;
