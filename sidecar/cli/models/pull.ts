import { SingleBar } from 'cli-progress';
import { Command } from 'commander';
import { modelStore } from '../../engine/roots.ts';
import type { PullProgress } from '../../hub/pull.ts';
import { bytesText } from './text.ts';

interface PullFlags {
  revision: string;
  variant?: string;
  dir: string;
  quiet?: boolean;
}

export function pullCommand(): Command {
  return new Command('pull')
    .description(
      'bring a model from the hub: its safetensors, configs and tokenizers; what was cut is taken up again',
    )
    .argument('<model>', 'OWNER/NAME, or OWNER/NAME/FILE.safetensors for a checkpoint in one file')
    .option('--revision <name>', 'branch, tag or commit', 'main')
    .option('--variant <name>', 'of several weights those: fp16')
    .option('--dir <dir>', 'folder of models', modelStore())
    .option('--quiet', 'no progress')
    .addHelpText(
      'after',
      '\nHF_ENDPOINT names another server than the hub; HF_TOKEN opens private and gated models.',
    )
    .action(async (model: string, { revision, variant, dir, quiet }: PullFlags) => {
      // The library is large, and only this command needs it.
      const { pull } = await import('../../hub/pull.ts');
      const stop = new AbortController();
      process.once('SIGINT', () =>
        stop.abort(new Error('Stopped. What came is kept: run the command again to go on')),
      );
      const bar = progressBar(quiet ?? false);
      try {
        const options = { revision, variant, signal: stop.signal, onProgress: bar.update };
        console.log(await pull(model, dir, options));
      } catch (error) {
        throw stop.signal.aborted ? stop.signal.reason : error;
      } finally {
        bar.stop();
      }
    });
}

/** On standard error, where that is a terminal. */
function progressBar(quiet: boolean) {
  if (quiet || !process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const bar = new SingleBar({
    format: '{bar} {percentage} % | {of} | {path} | {eta_formatted} left',
    stream: process.stderr,
    ...{ barsize: 30, clearOnComplete: true, hideCursor: true, etaBuffer: 200 },
  });
  let started = false;
  return {
    update({ path, done, total }: PullProgress) {
      const of = `${bytesText(done).trim()} of ${bytesText(total).trim()}`;
      if (!started) bar.start(total, done, { path, of });
      started = true;
      bar.update(done, { path, of });
    },
    stop: () => bar.stop(),
  };
}
