import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type TracebackPart, tracebackParts } from '../src/traceback';

interface Example {
  readonly name: string;
  readonly parts: readonly TracebackPart[];
}

const { tracebacks } = JSON.parse(readFileSync(new URL('../../testdata/tracebacks.json', import.meta.url), 'utf8')) as {
  tracebacks: Example[];
};

it.each(tracebacks)('folds frames of libraries as the server does: $name', ({ parts }) => {
  expect(tracebackParts(parts.map(({ text }) => text).join('\n'))).toEqual(parts);
});
