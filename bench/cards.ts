import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { fillPage, markdownTable } from './page.ts';
import { ROOT } from './root.ts';

/** models/metrics.json, as models/training/evaluate.py writes it. */
interface Metrics {
  words: number;
  held_out: number;
  /** By model and steps: "tiny-emoji-ldm, 50 steps". */
  steps: Record<string, Record<string, number>>;
  gates: { name: string; wanted: string; value: number; reached: boolean }[];
  [name: string]: unknown;
}

/** `npm run bench -- cards`: the evaluation's figures into the embedded models' cards. */
export function cardsCommand(): Command {
  return new Command('cards')
    .description("models/metrics.json into the embedded models' cards, between their marks <!-- figures -->")
    .action(() => {
      for (const [file, text] of Object.entries(cardFigures())) fillPage(join(ROOT, file), 'figures', text);
    });
}

/** What stands between the marks of each card, by file. */
export function cardFigures(): Record<string, string> {
  const m: Metrics = JSON.parse(readFileSync(join(ROOT, 'models/metrics.json'), 'utf8'));
  return {
    'models/tiny-emoji-ldm/README.md': `${ofPictures(m, 'tiny-emoji-ldm')}\n\n${ofAutoencoder(m)}`,
    'models/tiny-emoji-turbo/README.md': ofPictures(m, 'tiny-emoji-turbo'),
    'models/tiny-emoji-controlnet-canny/README.md': ofEdges(m),
    'models/training/README.md': ofGates(m),
  };
}

const figure = (m: Metrics, name: string, digits: number) => {
  const value = m[name];
  if (typeof value !== 'number') throw new Error(`Expected ${name} in models/metrics.json but found none`);
  return value.toFixed(digits);
};

function ofPictures(m: Metrics, model: string): string {
  const rows = Object.entries(m.steps).flatMap(([name, row]) => {
    const [of, steps] = name.split(', ') as [string, string];
    const percent = (key: string) => `${(100 * row[key]!).toFixed(0)} %`;
    const nearest = [percent('concept_accuracy'), row.nearest_training_picture_rmse!.toFixed(2)];
    const judged = [row.frechet!.toFixed(2), percent('retrieval_accuracy'), row.retrieval_score!.toFixed(2)];
    return of === model ? [[steps.split(' ')[0]!, ...nearest, ...judged]] : [];
  });
  const head = ['steps', 'nearest is its own', 'distance to the nearest', 'Fréchet', 'retrieval', 'score'];
  return `${markdownTable(head, rows)}\n\nDistance between seeds of a word, over that between words: ${figure(m, `diversity_${model}`, 2)}.`;
}

function ofAutoencoder(m: Metrics): string {
  const of = (name: string) => `${figure(m, `autoencoder_psnr_db${name}`, 1)} dB`;
  return markdownTable(
    ['autoencoder, PSNR of', ''],
    [
      [`${m.held_out} held-out pictures`, of('')],
      ['those of Fluent Emoji (flat)', of('_of_fluent-emoji-flat')],
      ['those of Fluent Emoji', of('_of_fluent-emoji')],
      ['those of Noto Emoji', of('_of_noto')],
      [`the ${m.words}`, of('_of_the_words')],
    ],
  );
}

function ofEdges(m: Metrics): string {
  const row = (said: string, name: string) => [
    said,
    ...['', '_of_the_words'].map((of) => figure(m, `${name}${of}`, 2)),
  ];
  return markdownTable(
    ["edges kept (F1) of 12 pictures' own", 'held out', "the base's words"],
    [
      row('by the autoencoder alone: the ceiling', 'controlnet_ceiling_edge_f1'),
      row('with the ControlNet', 'controlnet_edge_f1'),
      row("the same, against another picture's edges", 'controlnet_edge_f1_shuffled'),
      row('with one without zero convolutions (not shipped)', 'controlnet_without_zero_convolutions_edge_f1'),
      row('without control', 'without_control_edge_f1'),
    ],
  );
}

function ofGates(m: Metrics): string {
  const rows = m.gates.map(({ name, wanted, value, reached }) => [
    `\`${name}\``,
    wanted,
    String(Number(value.toPrecision(3))),
    reached ? 'reached' : '**missed**',
  ]);
  return markdownTable(['gate', 'wanted', 'is', ''], rows);
}
