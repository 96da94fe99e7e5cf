import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    dir: import.meta.dirname,
    include: ['*.e2e.ts'],
    reporters: ['verbose'],
    // The limit of a whole test, which may start a pool on a busy machine. Each awaited condition has a shorter limit of its own.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Each file has a VS Code of its own, and one at a time is enough work.
    fileParallelism: false,
  },
});
