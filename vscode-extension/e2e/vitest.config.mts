import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    dir: import.meta.dirname,
    include: ['*.e2e.ts'],
    reporters: ['verbose'],
    // Of a test: a pool starts in it, on a machine that does other things too. What is awaited has shorter limits of its own.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Each file has a VS Code of its own, and one at a time is work enough.
    fileParallelism: false,
  },
});
