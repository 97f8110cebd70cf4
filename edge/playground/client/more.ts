import { numberOf } from './numbers.ts';
import { button, byId, make, setOptions } from './page.ts';
import type { Body, Model, Names } from './types.ts';

const MAX_LORAS = 16;
const numbers = ['hires_scale', 'hires_strength', 'refiner_start'] as const;
const choices = ['refiner', 'hires_upscaler'] as const;
type Fields = 'loras' | (typeof numbers)[number] | (typeof choices)[number];

/** LoRAs, a second pass, a refiner. They take part while their section is open. */
export function more() {
  const element = byId('more', HTMLDetailsElement);
  const list = byId('loras');
  let loras: string[] = [];
  const add = button('Add a LoRA', () => addRow().querySelector('select')!.focus());
  list.after(add);

  const update = () => {
    add.disabled = loras.length === 0 || list.children.length >= MAX_LORAS;
    add.textContent = loras.length === 0 ? 'This server has no LoRA' : 'Add a LoRA';
    for (const [i, row] of [...list.children].entries()) {
      const [select, scale] = fieldsOf(row);
      select.dataset.param = `loras[${i}].name`;
      scale.dataset.param = `loras[${i}].scale`;
      select.ariaLabel = `LoRA ${i + 1}`;
      scale.ariaLabel = `Scale of LoRA ${i + 1}`;
    }
  };
  /** @param name one that is gone is shown too: the server says so. */
  const addRow = (name = loras[0] ?? '', scale?: number | null): HTMLElement => {
    const names = loras.includes(name) ? loras : [...loras, name];
    const select = make('select', {}, ...names.map((value) => make('option', { value }, value)));
    select.value = name;
    const number = make('input', { type: 'number', step: '0.1', inputMode: 'decimal', placeholder: '1' });
    number.value = String(scale ?? '');
    const remove = button('Remove', () => {
      row.remove();
      update();
      add.focus();
    });
    const row = make('li', { className: 'row lora' }, select, number, remove);
    list.append(row);
    update();
    return row;
  };
  update();

  return {
    element,
    /** Fills in what there is to choose from. */
    offer(models: Model[], names: Names): void {
      loras = names.loras;
      const option = (value: string) => ({ value, text: value });
      setOptions(
        byId('refiner', HTMLSelectElement),
        1,
        models.map(({ id }) => option(id)),
      );
      setOptions(byId('hires_upscaler', HTMLSelectElement), 1, names.hires_upscalers.map(option));
      update();
    },
    read(): Pick<Body, Fields> {
      if (!element.open) return {};
      const rows = [...list.children].map((row) => {
        const [select, scale] = fieldsOf(row);
        return { name: select.value, scale: scale.value === '' ? undefined : Number(scale.value) };
      });
      return {
        loras: rows.length > 0 ? rows : undefined,
        ...Object.fromEntries(numbers.map((name) => [name, numberOf(name)])),
        ...Object.fromEntries(
          choices.map((name) => [name, byId(name, HTMLSelectElement).value || undefined]),
        ),
      };
    },
    restore(body: Body): void {
      element.open = Boolean(body.loras?.length || body.hires_scale || body.refiner);
      list.replaceChildren();
      for (const { name, scale } of body.loras ?? []) addRow(name, scale);
      for (const name of numbers) byId(name, HTMLInputElement).value = String(body[name] ?? '');
      for (const name of choices) byId(name, HTMLSelectElement).value = body[name] ?? '';
      update();
    },
  };
}

function fieldsOf(row: Element): [HTMLSelectElement, HTMLInputElement] {
  return [row.querySelector('select')!, row.querySelector('input')!];
}
