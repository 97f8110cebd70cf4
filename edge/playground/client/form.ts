import { getJson } from './api.ts';
import { numberOf } from './numbers.ts';
import { byId, setOptions } from './page.ts';
import { parseSize, type Size, sizeLike, sizeProblem } from './sizes.ts';
import type { Body, Model, Names } from './types.ts';

const field = (id: string) => byId(id) as HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;
/** Fields of the form that are fields of the body. */
const texts = ['negative_prompt', 'model', 'sampler', 'schedule'] as const;
const numbers = ['steps', 'guidance_scale', 'seed', 'n'] as const;

/** Words and settings. What is left empty is the model's own, and shown in its place. */
export function settings(onModel: () => void, onOffer: (models: Model[], names: Names) => void) {
  let models: Model[] = [];
  const model = byId('model', HTMLSelectElement);
  const chosen = () => models.find(({ id }) => id === model.value);
  /** Of what is made when no size is given. */
  const ownSize = (shape: Size | undefined): Size => {
    const own = parseSize(chosen()?.size ?? '512x512');
    return shape ? sizeLike(shape, own) : own;
  };
  const showDefaults = (shape: Size | undefined) => {
    const { steps, guidance_scale, sampler } = chosen() ?? {};
    const size = ownSize(shape);
    const own = { steps, guidance_scale, ...size };
    for (const [id, value] of Object.entries(own))
      byId(id, HTMLInputElement).placeholder = value === undefined ? '' : String(value);
    byId('sampler', HTMLSelectElement).options[0]!.text = sampler ? `default: ${sampler}` : 'default';
  };
  model.addEventListener('change', onModel);
  byId('draw-seed').addEventListener('click', () => {
    field('seed').value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
  });

  return {
    showDefaults,
    /** @throws RequestError */
    async load(): Promise<void> {
      const [{ data }, names] = await Promise.all([
        getJson<{ data: Model[] }>('/v1/models'),
        getJson<Names>('/v1/names'),
      ]);
      models = data.filter(({ kind }) => kind === 'latent-diffusion');
      const text = ({ id }: Model) => ({ value: id, text: id });
      setOptions(model, 0, models.map(text));
      model.value = models.find((each) => each.default)?.id ?? model.value;
      const named = ({ name }: { name: string }) => ({ value: name, text: name });
      setOptions(byId('sampler', HTMLSelectElement), 1, names.samplers.map(named));
      setOptions(byId('schedule', HTMLSelectElement), 1, names.schedules.map(named));
      onOffer(data, names);
      onModel();
    },
    /** Of what will be made. */
    size(shape: Size | undefined): Size {
      const own = ownSize(shape);
      return { width: numberOf('width') ?? own.width, height: numberOf('height') ?? own.height };
    },
    /** The first field, by its id, in which something else stands than it needs. */
    problem(shape: Size | undefined): { field: string; message: string } | undefined {
      const elements = [...byId('request', HTMLFormElement).elements] as HTMLInputElement[];
      const bad = elements.find((each) => each.validity?.badInput);
      return bad ? { field: bad.id, message: 'Expected a number' } : sizeProblem(this.size(shape));
    },
    read(shape: Size | undefined): Body {
      const sized = shape || numberOf('width') !== undefined || numberOf('height') !== undefined;
      const { width, height } = this.size(shape);
      return {
        prompt: field('prompt').value,
        ...Object.fromEntries(texts.map((name) => [name, field(name).value || undefined])),
        ...Object.fromEntries(numbers.map((name) => [name, numberOf(name)])),
        size: sized ? `${width}x${height}` : undefined,
      };
    },
    /** Fills in what was asked for. */
    restore(body: Body): void {
      const { width = '', height = '' } = body.size ? parseSize(body.size) : {};
      for (const [id, value] of Object.entries({ width, height })) field(id).value = String(value);
      for (const name of ['prompt', ...texts, ...numbers] as const)
        field(name).value = String(body[name] ?? '');
      onModel();
    },
  };
}
