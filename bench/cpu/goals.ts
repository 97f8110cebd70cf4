import type { CpuCase, CpuReport } from './report.ts';

interface Goal {
  /** How many times as fast as the other program. */
  torch?: number;
  sdcpp?: number;
  /** 10⁶ bytes of memory, at most. */
  memory?: number;
}

const MODULE: Goal = { torch: 1.5, sdcpp: 4 };

/** What was aimed at, on two cores with AVX2, by case. */
export const GOALS: Record<string, Goal> = {
  'sd15-unet-b1': MODULE,
  'sd15-unet-b2': MODULE,
  'controlnet-sd15-b1': MODULE,
  'vae-decode-512': { torch: 2, sdcpp: 6 },
  'sd15-20step': { memory: 3000 },
};

/** The goals in words, as a sentence. */
export const GOALS_IN_WORDS =
  'The goals, set for two cores with AVX2: a U-Net’s and a ControlNet’s evaluation 1.5 times as fast as torch and 4 times as stable-diffusion.cpp, an image’s decoding 2 and 6 times, and Stable Diffusion 1.5 within 3000 MB.';

const PROGRAMS = { torch: 'torch', sdcpp: 'stable-diffusion.cpp' } as const;

/** Of a result, which goals are met, which are not, and which nothing is known of: one line for each that there are. */
export function judgement({ cases }: CpuReport): string[] {
  const found = { met: [] as string[], missed: [] as string[], unknown: [] as string[] };
  for (const [name, goal] of Object.entries(GOALS)) {
    const measured = cases[name];
    for (const program of ['torch', 'sdcpp'] as const) {
      const aim = goal[program];
      if (aim === undefined) continue;
      const ratio = ratioOf(measured, program);
      const what = `${name} ${aim}× ${PROGRAMS[program]}`;
      if (ratio === undefined) found.unknown.push(what);
      else if (ratio >= aim) found.met.push(`${what} (${ratio.toFixed(3)}×)`);
      // What was missed by less than a digit shows does not read as met.
      else found.missed.push(`${what} (${Math.min(ratio, aim - 0.001).toFixed(3)}×)`);
    }
    if (goal.memory === undefined) continue;
    const what = `${name} within ${goal.memory} MB`;
    if (!measured) found.unknown.push(what);
    else
      found[measured.ours_rss_mb <= goal.memory ? 'met' : 'missed'].push(`${what} (${measured.ours_rss_mb})`);
  }
  const line = (title: string, list: string[]) =>
    list.length > 0 ? [`- ${title}: ${list.join(', ')}.`] : [];
  return [...line('Met', found.met), ...line('Missed', found.missed), ...line('Not measured', found.unknown)];
}

function ratioOf(measured: CpuCase | undefined, program: 'torch' | 'sdcpp'): number | undefined {
  const other = measured?.[`${program}_s`];
  return measured && typeof other === 'number' ? other / measured.ours_s : undefined;
}
