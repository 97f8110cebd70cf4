import { generate, type RequestError } from './api.ts';
import { begin } from './begin.ts';
import { details } from './details.ts';
import { exactBody } from './exact.ts';
import { settings } from './form.ts';
import { history } from './history.ts';
import { keyDialog } from './key.ts';
import { more } from './more.ts';
import { announce, byId } from './page.ts';
import { takePasted } from './pictures-in.ts';
import { clearProblems, showProblem } from './problems.ts';
import { sizeProblem } from './sizes.ts';
import { sketches } from './sketches.ts';
import { stage } from './stage.ts';
import type { Body, Made, Model, Names } from './types.ts';

const request = byId('request', HTMLFormElement);
const picture = begin(() => sizesChanged());
const drawing = sketches();
const further = more();
const fields = settings(() => sizesChanged(), offer);
const view = stage();
const key = keyDialog(() => void load());
const made = history((chosen) => show(chosen));
const about = details({ reuse, beginFrom, delete: remove });
let running: AbortController | undefined;
/** The one that is seen; none: what is being made, or nothing. */
let shown: Made | undefined;
/** The one that was seen before the run; none: nothing, or it has been deleted. */
let last: Made | undefined;

function offer(models: Model[], names: Names): void {
  const of = (kind: string) => models.filter((model) => model.kind === kind);
  further.offer(of('latent-diffusion'), names);
  drawing.offer(of('controlnet'), names);
}

/** Defaults and the drawing board follow the model, the size and the picture; the board where such a size is made. */
function sizesChanged(): void {
  fields.showDefaults(picture.size());
  const size = fields.size(picture.size());
  if (!sizeProblem(size)) drawing.setSize(size);
}

function fail(error: unknown): void {
  const { name, message, param, status } = error as RequestError;
  if (name === 'AbortError') announce('Cancelled');
  else if (status === 401) key.open();
  else showProblem(message, param);
}

async function load(): Promise<void> {
  await fields.load().catch(fail);
}

async function bodyOfForm(): Promise<Body> {
  const [control, start] = await Promise.all([drawing.read(), picture.read()]);
  return { ...fields.read(picture.size()), ...further.read(), ...start, ...control };
}

async function run(): Promise<void> {
  clearProblems();
  const bad = fields.problem(picture.size());
  if (bad) return showProblem(bad.message, bad.field);
  last = shown;
  running = new AbortController();
  setRunning(true);
  const before = performance.now();
  try {
    const body = await bodyOfForm();
    const images: Blob[] = [];
    for await (const event of generate(body, running.signal)) {
      // Who looks at another picture meanwhile is left to it until this one is there.
      const image = view.take(event, shown === undefined);
      if (!image || event.type !== 'completed') continue;
      images[event.image_index] = image;
      if (images.length < event.effective.seeds.length) continue;
      const { effective } = event;
      const answered = { created: Date.now(), body, effective, images, ms: performance.now() - before };
      show(answered);
      announce('The picture is there');
      void keep(answered);
    }
  } catch (error) {
    // What was there before is there again; another picture that was chosen meanwhile stays.
    if (!shown && last) show(last);
    else if (!shown) view.clear();
    fail(error);
  } finally {
    setRunning(false);
    running = undefined;
  }
}

/** In the history. A browser that does not (a full disk, a window that keeps nothing) has it on the page alone. */
async function keep(answered: Made): Promise<void> {
  try {
    await made.add(answered);
    if (shown === answered) made.mark(answered.id);
  } catch (error) {
    showProblem(`This browser has not kept the picture in its history: ${(error as Error).message}`);
  }
}

function setRunning(is: boolean): void {
  const focused = document.activeElement;
  byId('generate').hidden = is;
  byId('cancel').hidden = !is;
  if (focused === byId('generate')) byId('cancel').focus();
  if (focused === byId('cancel')) byId('generate').focus();
  if (!is) {
    view.stop();
    return;
  }
  tellOf(undefined);
  view.start();
}

function show(chosen: Made): void {
  view.show(chosen.images, chosen.effective.prompt || 'The picture');
  tellOf(chosen);
}

function tellOf(chosen: Made | undefined): void {
  shown = chosen;
  about.show(chosen);
  made.mark(chosen?.id);
}

async function reuse(chosen: Made): Promise<void> {
  clearProblems();
  const body = exactBody(chosen);
  await Promise.all([drawing.restore(body), picture.restore(body)]);
  fields.restore(body);
  further.restore(body);
  announce('The settings are those of the picture');
}

async function beginFrom(image: Blob): Promise<void> {
  picture.element.open = true;
  await picture.setFile(image);
  picture.element.scrollIntoView({ block: 'nearest' });
}

async function remove(chosen: Made): Promise<void> {
  const { id } = chosen;
  // One that comes from the history is the same by its id alone.
  if (last === chosen || (id !== undefined && last?.id === id)) last = undefined;
  // One that was not kept is gone with the page.
  if (id !== undefined) await made.delete(id);
  view.clear();
  tellOf(undefined);
}

request.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!running) void run();
});
byId('cancel').addEventListener('click', () => running?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) request.requestSubmit();
  if (event.key === 'Escape') running?.abort();
});
for (const id of ['width', 'height']) byId(id).addEventListener('input', sizesChanged);
takePasted(() => [...drawing.sections(), picture]);

await Promise.all([load(), made.load().catch(fail)]);
