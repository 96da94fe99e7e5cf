// Bundles the extension into dist/, or a folder named by --out=: one file for the extension host, a script and a style for the results view.
import { context } from 'esbuild';

const watch = process.argv.includes('--watch');
const out = process.argv.find((arg) => arg.startsWith('--out='))?.slice('--out='.length) ?? 'dist';

const bundles = [
  {
    entryPoints: ['src/extension.ts'],
    outdir: out,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['vscode'],
  },
  {
    entryPoints: { results: 'src/results/webview/main.ts' },
    outdir: out,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
  },
  { entryPoints: { results: 'src/results/webview/style.css' }, outdir: out, target: 'chrome120' },
];

for (const bundle of bundles) {
  const built = await context({ bundle: true, minify: !watch, sourcemap: watch, logLevel: 'info', ...bundle });
  if (watch) {
    await built.watch();
  } else {
    await built.rebuild();
    await built.dispose();
  }
}
