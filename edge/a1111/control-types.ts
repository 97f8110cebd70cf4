// What the ControlNet extension calls kinds of control, and which names it counts to each.

const kinds: Record<string, RegExp> = {
  Canny: /canny/,
  Lineart: /lineart/,
  SoftEdge: /softedge|hed|pidi|sobel/,
  Scribble: /scribble|sketch/,
  Segmentation: /seg/,
  Depth: /depth/,
  NormalMap: /normal/,
  OpenPose: /pose/,
  Tile: /tile|blur/,
  Inpaint: /inpaint/,
  Recolor: /recolor/,
};

const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');

/** As its dropdowns are filled: by kind, what may be chosen, and what is at first. */
export function controlTypes(
  modules: readonly { name: string; aliases: readonly string[] }[],
  models: readonly string[],
) {
  const names = modules.map(({ name }) => name);
  const of = (kind: RegExp) => {
    const own = modules.filter(({ name, aliases }) =>
      [name, ...aliases].some((each) => kind.test(plain(each))),
    );
    const module_list = [...new Set(['none', ...own.map(({ name }) => name)])];
    const model_list = ['None', ...models.filter((model) => kind.test(plain(model)))];
    return {
      ...{ module_list, model_list },
      ...{ default_option: module_list[1] ?? 'none', default_model: model_list[1] ?? 'None' },
    };
  };
  const all = {
    ...{ module_list: names, model_list: ['None', ...models] },
    ...{ default_option: 'none', default_model: 'None' },
  };
  const each = Object.entries(kinds).map(([name, kind]) => [name, of(kind)] as const);
  return { All: all, ...Object.fromEntries(each) };
}
