// What nvcc said of the kernels of the last build: node cuda/resources.mjs [--build] [--all]
// Fails where it warned, or where a kernel keeps registers in memory ("spills"); without nvcc there is nothing to say.
// --build: builds them first. --all: every kernel's registers.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon, nvcc } from './build.mjs';

const kernels = join(dirname(fileURLToPath(import.meta.url)), 'build/obj/kernels');

/** @typedef {{ kernel: string, arch: string, registers: number, spilled: number }} Use bytes spilled */

/**
 * Reads nvcc's output with -Xptxas -v.
 * @param {string} text
 * @returns {{ uses: Use[], warnings: string[] }}
 */
export function parseResources(text) {
  const uses = [];
  const warnings = [];
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line);
    const spills = /(\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    const registers = /Used (\d+) registers/.exec(line);
    if (entry) uses.push({ kernel: nameOf(entry[1]), arch: entry[2], registers: 0, spilled: 0 });
    else if (spills && uses.length > 0) uses.at(-1).spilled += Number(spills[1]) + Number(spills[2]);
    else if (registers && uses.length > 0) uses.at(-1).registers = Number(registers[1]);
    else if (/warning/i.test(line)) warnings.push(line.trim());
  }
  return { uses, warnings };
}

/** The kernel's name, its type and its sizes, as `product<f16 128×160>`, of a mangled name. */
function nameOf(mangled) {
  // The file's hash, for several architectures the process too, then the name behind its length.
  const [, digits, name, args] = /_cu_[0-9a-f]{8}_?(\d+)([a-z_]+)(.*)$/.exec(mangled) ?? [];
  if (!name || !digits.endsWith(String(name.length))) return mangled;
  const type = args.includes('bfloat16') ? 'bf16' : args.includes('half') ? 'f16' : 'f32';
  const sizes = [...args.matchAll(/Li(\d+)E/g)].map((match) => match[1]).join('×');
  return `${name}<${[type, sizes].filter(Boolean).join(' ')}>`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--build') && nvcc()) await buildAddon({ gpu: true });
  const logs = existsSync(kernels) ? readdirSync(kernels).filter((name) => name.endsWith('.cu.o.txt')) : [];
  if (logs.length === 0) {
    console.log('skipped: no kernels have been built (node cuda/build.mjs --gpu, where nvcc is)');
  } else {
    const all = logs.map((name) => parseResources(readFileSync(join(kernels, name), 'utf8')));
    const uses = all.flatMap(({ uses }) => uses);
    const warnings = all.flatMap(({ warnings }) => warnings);
    const spilling = uses.filter(({ spilled }) => spilled > 0);
    if (process.argv.includes('--all'))
      for (const { kernel, arch, registers } of uses)
        console.log(`${arch} ${String(registers).padStart(3)} ${kernel}`);
    for (const { kernel, arch, spilled } of spilling)
      console.error(`${kernel} for ${arch} spills ${spilled} bytes`);
    for (const warning of warnings) console.error(warning);
    const most = Math.max(...uses.map(({ registers }) => registers));
    console.log(
      `${uses.length} kernels, at most ${most} registers, ${spilling.length} spill, ${warnings.length} warnings`,
    );
    process.exitCode = spilling.length + warnings.length > 0 ? 1 : 0;
  }
}
