// Writes into package.json what is made from the server's tables: the settings (configuration.ts).
import { build } from 'esbuild';
import { readFileSync, writeFileSync } from 'node:fs';

const bundle = await build({
  entryPoints: ['configuration.ts'],
  bundle: true,
  format: 'esm',
  platform: 'node',
  write: false,
});
const { configuration } = await import(
  `data:text/javascript;base64,${Buffer.from(bundle.outputFiles[0].contents).toString('base64')}`
);

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
manifest.contributes.configuration = configuration();
writeFileSync('package.json', JSON.stringify(manifest, null, 2) + '\n');
