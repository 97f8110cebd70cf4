import { type Answer, type Ask, type AskOptions, ask, askAll } from './ask.ts';
import { type Child, Edge, InstantSidecar, Sidecar, type Start } from './children.ts';

/** Something that goes wrong, and what is promised for it. */
export interface Scenario {
  name: string;
  /** What is done: `A sidecar is killed under load`. */
  title: string;
  run(drill: Drill): Promise<void>;
}

/** A promise, and what became of it. */
export interface Outcome {
  scenario: string;
  promised: string;
  happened: string;
  isKept: boolean;
  /** Broken, it stays so, however the scenario is tried again. */
  isFinal: boolean;
}

export interface DrillOptions {
  /** Few requests, for CI. */
  isShort: boolean;
  /** Whether networks can be made and cut. */
  hasNetworks: boolean;
  say: (line: string) => void;
}

/** Requests that are asked for: one step without guidance, and four with it. */
const KINDS = [
  { model: 'tiny-emoji-turbo', steps: 1 },
  { model: 'tiny-emoji-ldm', steps: 4 },
];

/** Seeds, of each kind. */
const SEEDS = 12;

/** What the scenarios have in common: processes, requests whose pictures are known, promises. */
export class Drill {
  readonly isShort: boolean;
  readonly hasNetworks: boolean;
  readonly say: (line: string) => void;
  readonly outcomes: Outcome[] = [];
  /** Scenarios that were tried again. */
  readonly retried: string[] = [];
  readonly #children = new Set<Child>();
  #pictures = new Map<string, string>();
  #scenario = '';

  constructor({ isShort, hasNetworks, say }: DrillOptions) {
    this.isShort = isShort;
    this.hasNetworks = hasNetworks;
    this.say = say;
  }

  /** Another one, whose lines go elsewhere, that knows the same pictures. */
  another(say: (line: string) => void): Drill {
    const drill = new Drill({ isShort: this.isShort, hasNetworks: this.hasNetworks, say });
    drill.#pictures = this.#pictures;
    return drill;
  }

  async sidecar(start?: Start): Promise<Sidecar> {
    return this.#keep(await Sidecar.start(start));
  }

  async instantSidecar(size: number): Promise<InstantSidecar> {
    return this.#keep(await InstantSidecar.start(size));
  }

  async edge(sidecars: readonly (Sidecar | string)[], start?: Start): Promise<Edge> {
    const addresses = sidecars.map((each) => (typeof each === 'string' ? each : each.address));
    return this.#keep(await Edge.start(addresses, start));
  }

  /** Makes every picture once, undisturbed and one at a time: what all further answers are held against. */
  async learn(): Promise<void> {
    const sidecar = await this.sidecar();
    const edge = await this.edge([sidecar]);
    for (const what of KINDS.flatMap((kind) => range(SEEDS).map((seed) => ({ ...kind, seed })))) {
      const { code, sha256 } = await ask(edge.url, what);
      if (sha256 === undefined)
        throw new Error(`Expected a picture but received ${code}:\n${sidecar.output}`);
      this.#pictures.set(keyOf(what), sha256);
    }
    await this.end();
    if (new Set(this.#pictures.values()).size !== this.#pictures.size)
      throw new Error('Expected another picture for each seed and model');
  }

  /** So many requests, kinds and seeds in turn. */
  asks(count: number): Ask[] {
    return range(count).map((i) => ({
      ...KINDS[i % KINDS.length]!,
      seed: Math.floor(i / KINDS.length) % SEEDS,
    }));
  }

  /** Those of one kind: 0 takes one step, 1 four. */
  asksOf(kind: 0 | 1, count: number): Ask[] {
    return range(count).map((i) => ({ ...KINDS[kind]!, seed: i % SEEDS }));
  }

  /** Asks an edge for all of them, so many at once. */
  load(edge: Edge, asks: readonly Ask[], clients: number, options?: AskOptions): Promise<Answer[]> {
    return askAll(asks, clients, (what) => ask(edge.url, what, options));
  }

  /** What is promised always: an answer to everybody, and to nobody another's picture. */
  answered(answers: readonly Answer[], { allowed = [] }: { allowed?: readonly string[] } = {}): void {
    const codes = countsOf(answers.map(({ code }) => code));
    const [lost, other] = [
      answers.filter(({ code }) => code === 'lost'),
      answers.filter(({ code }) => code !== 'lost' && code !== 'ok' && !allowed.includes(code)),
    ];
    const errors = allowed.length > 0 ? `a picture, or ${allowed.join(' or ')}` : 'a picture';
    this.promise(
      `every request is answered: ${errors}`,
      `${answers.length} requests: ${codes}; slowest ${seconds(Math.max(...answers.map(({ ms }) => ms)))}`,
      lost.length + other.length === 0,
      lost.length > 0,
    );
    const pictures = answers.filter(({ sha256 }) => sha256 !== undefined);
    const wrong = pictures.filter((each) => each.sha256 !== this.#pictures.get(keyOf(each)));
    this.promise(
      'no answer is another’s: each picture is the one that its request gives undisturbed',
      `${pictures.length - wrong.length} of ${pictures.length} pictures, by SHA-256`,
      wrong.length === 0,
      true,
    );
  }

  /** That a sidecar has nothing left to do, and holds no more memory of its device than `before`. */
  async settled(sidecar: Sidecar, before: { tensors?: number }): Promise<void> {
    const { running, waiting, memory } = await sidecar.idle(before.tensors ?? 0);
    this.promise(
      'nothing is left behind: no work, no tensors',
      `${running} running, ${waiting} waiting, ${bytes(memory.tensors)} of tensors (before: ${bytes(before.tensors)})`,
      running + waiting === 0 && (memory.tensors ?? 0) <= (before.tensors ?? 0),
    );
  }

  /** @param isFinal of what no chance excuses: a request that is lost, a picture that is another's. */
  promise(promised: string, happened: string, isKept: boolean, isFinal = false): void {
    this.outcomes.push({ scenario: this.#scenario, promised, happened, isKept, isFinal });
    this.say(`  ${isKept ? 'kept  ' : 'BROKEN'} ${promised}\n         ${happened}`);
  }

  /**
   * Lets it happen.
   * @param retries how often it is tried again where a promise breaks: by chance it does not break twice. Not where one
   * breaks that is final.
   */
  async run(scenario: Scenario, retries = 0): Promise<void> {
    const before = this.outcomes.length;
    await this.#once(scenario);
    const broken = this.outcomes.slice(before).filter(({ isKept }) => !isKept);
    if (retries === 0 || broken.length === 0 || broken.some(({ isFinal }) => isFinal)) return;
    this.retried.push(scenario.name);
    this.say('  A promise broke: once more, from the beginning (retry)');
    this.outcomes.length = before;
    await this.run(scenario, retries - 1);
  }

  async #once(scenario: Scenario): Promise<void> {
    this.#scenario = scenario.title;
    this.say(`\n${scenario.title}`);
    const began = performance.now();
    try {
      await scenario.run(this);
    } catch (error) {
      this.promise('the drill goes on', `${(error as Error).stack}`, false);
    } finally {
      await this.end();
    }
    this.say(`  ${seconds(performance.now() - began)}`);
  }

  /** Ends every process. */
  async end(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.kill()));
    this.#children.clear();
  }

  #keep<T extends Child>(child: T): T {
    this.#children.add(child);
    return child;
  }
}

export const range = (count: number) => Array.from({ length: count }, (_, i) => i);
export const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

export function countsOf(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${count} ${name}`).join(', ');
}

const keyOf = ({ model, steps, seed }: Ask) => `${model} ${steps} ${seed}`;
const bytes = (n = 0) => `${(n / 2 ** 20).toFixed(2)} MiB`;
