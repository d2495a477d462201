import { defineConfig } from 'vitest/config'

const source = { resolve: { conditions: ['@tidings/source'] }, ssr: { resolve: { conditions: ['@tidings/source'] } } }

/** Levels from fast to true; see test/README.md. Process tests run the build in dist. */
export default defineConfig({
  test: {
    projects: [
      {
        ...source,
        test: {
          name: 'unit',
          root: import.meta.dirname,
          include: ['tidy.test.ts', 'unit/**/*.test.ts'],
          testTimeout: 20_000,
        },
      },
      {
        ...source,
        test: {
          name: 'contract',
          root: import.meta.dirname,
          include: ['contract/**/*.test.ts'],
          testTimeout: 20_000,
        },
      },
      {
        ...source,
        test: { name: 'sim', root: import.meta.dirname, include: ['sim/**/*.test.ts'], testTimeout: 120_000 },
      },
      {
        ...source,
        test: { name: 'api', root: import.meta.dirname, include: ['api/**/*.test.ts'], testTimeout: 20_000 },
      },
      {
        ...source,
        test: { name: 'package', root: import.meta.dirname, include: ['package/**/*.test.ts'], testTimeout: 120_000 },
      },
      {
        ...source,
        test: {
          name: 'process',
          root: import.meta.dirname,
          include: ['process/**/*.test.ts'],
          testTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
