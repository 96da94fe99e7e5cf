// Bundles the extension into dist/, or a folder named by --out=: one file for the extension host, a script and a style for each page, and what draws
// rich output, which pages load when there is some.
import { context } from 'esbuild';

const watch = process.argv.includes('--watch');
const out = process.argv.find((arg) => arg.startsWith('--out='))?.slice('--out='.length) ?? 'dist';

const frames = 'src/results/webview/frame';

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
    entryPoints: {
      results: 'src/results/webview/main.ts',
      enlarged: 'src/results/webview/enlarged.ts',
      table: 'src/results/webview/table.ts',
    },
    outdir: out,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    loader: { '.css': 'text' }, // of frames
  },
  { entryPoints: { results: 'src/results/webview/style.css' }, outdir: out, target: 'chrome120' },
  {
    entryPoints: {
      frame: `${frames}/main.ts`,
      markdown: `${frames}/markdown.ts`,
      plotly: `${frames}/plotly.ts`,
      vega: `${frames}/vega.ts`,
    },
    outdir: `${out}/renderers`,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
  },
  {
    entryPoints: { markdown: `${frames}/markdown.css` },
    outdir: `${out}/renderers`,
    target: 'chrome120',
    loader: { '.woff2': 'dataurl', '.woff': 'empty', '.ttf': 'empty' }, // a frame can load nothing
  },
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
