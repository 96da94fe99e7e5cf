/** Charts of Vega and Vega-Lite, and so of Altair. */
import { parse, type Spec, View } from 'vega';
import { expressionInterpreter } from 'vega-interpreter';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Theme } from './contract';

globalThis.dipRenderer = async (value, element, { mime, theme, fill }) => {
  const config = configOf(theme);
  const spec = mime.includes('vegalite') ? compile(value as TopLevelSpec, { config }).spec : (value as Spec);
  // Expressions are interpreted, never made into code: the policy of the page forbids that.
  const view = new View(parse(spec, config, { ast: true }), {
    expr: expressionInterpreter,
    renderer: 'svg',
    container: element,
    hover: true,
  });
  await view.runAsync();
  const image = element.querySelector('svg');
  if (fill && image) {
    image.style.cssText = 'width: 100%; height: 100%';
  }
  return {
    png: async () => (await view.toCanvas(2)).toDataURL('image/png'),
    svg: async () => `data:image/svg+xml;utf8,${encodeURIComponent(await view.toSVG())}`,
  };
};

/** The looks of what the chart itself says nothing about. */
function configOf({ foreground, border, font }: Theme): object {
  const text = { labelColor: foreground, titleColor: foreground, labelFont: font, titleFont: font };
  return {
    background: 'transparent',
    axis: { ...text, gridColor: border, domainColor: border, tickColor: border },
    legend: text,
    header: text,
    title: { color: foreground, subtitleColor: foreground, font },
    text: { color: foreground },
    view: { stroke: border },
  };
}
