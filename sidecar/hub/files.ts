import { chooseWeights } from '../checkpoints/folder.ts';
import { HubError } from './error.ts';

/** A file of a repository on the hub. */
export interface HubFile {
  /** Within the repository: `unet/config.json`. */
  path: string;
  /** Bytes. */
  size: number;
  /** What its bytes hash to: SHA-256 of large files, git's SHA-1 of a blob for the others. */
  hash: { type: 'sha256' | 'git'; hex: string } | undefined;
}

/** What of a repository is wanted. */
export interface Wanted {
  /** `OWNER/NAME` */
  repo: string;
  /** Its one checkpoint that is wanted; without it, the folder in diffusers layout. */
  file?: string;
}

const repoName = /^(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}$/;

/**
 * Parses `OWNER/NAME`, `OWNER/NAME/path/to/file.safetensors`.
 * @throws HubError
 */
export function parseWanted(text: string): Wanted {
  const [owner = '', name = '', ...path] = text.split('/');
  const file = path.length > 0 ? path.join('/') : undefined;
  const isFile = file === undefined || (isSafePath(file) && file.endsWith('.safetensors'));
  if (repoName.test(owner) && repoName.test(name) && isFile)
    return { repo: `${owner}/${name}`, ...(file && { file }) };
  throw new HubError(
    `Expected OWNER/NAME or OWNER/NAME/FILE.safetensors for the model but received ${JSON.stringify(text)}`,
  );
}

/** Whether a path stays inside the folder that it is joined to. */
export function isSafePath(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (path.length > 1024 || /[\\\0-\x1f\x7f]/.test(path)) return false;
  return path.split('/').every((name) => name !== '' && name !== '.' && name !== '..');
}

const parts = ['scheduler', 'tokenizer', 'tokenizer_2', 'text_encoder', 'text_encoder_2'].concat(
  ...['unet', 'vae', 'vqvae'],
);
const withWeights = ['text_encoder', 'text_encoder_2', 'unet', 'vae', 'vqvae'];
const small =
  /^(config|scheduler_config|vocab|tokenizer|tokenizer_config|special_tokens_map)\.json$|^merges\.txt$/;

/**
 * The files that a folder in diffusers layout is read from, or a component in a folder of its own: configs, tokenizers,
 * and of the weights one kind, which is never a pickle.
 * @param variant `fp16`: of several weights those; where there are none, the plain ones.
 * @throws HubError when there is no model, or no safetensors.
 */
export function folderFiles(files: readonly HubFile[], repo: string, variant?: string): HubFile[] {
  const names = new Set(files.map(({ path }) => path));
  const inFolder = (folder: string) =>
    files.filter(({ path }) => path.slice(0, path.lastIndexOf('/') + 1) === folder);
  if (!names.has('model_index.json')) {
    const all = inFolder('');
    if (!names.has('config.json')) throw noModel(files, repo);
    return [...all.filter(({ path }) => path === 'config.json'), ...weights(all, '', repo, variant)];
  }
  const lacking = ['unet/config.json', names.has('vqvae/config.json') ? '' : 'vae/config.json'].find(
    (path) => path !== '' && !names.has(path),
  );
  if (lacking !== undefined)
    throw new HubError(
      `Expected a latent diffusion model with a U-Net and an autoencoder but ${repo} has no ${lacking}`,
    );
  const index = files.filter(({ path }) => path === 'model_index.json');
  return parts
    .flatMap((part) => {
      const all = inFolder(`${part}/`);
      const configs = all.filter(({ path }) => small.test(path.slice(part.length + 1)));
      const hasWeights = withWeights.includes(part) && all.length > 0;
      return hasWeights ? [...configs, ...weights(all, `${part}/`, repo, variant)] : configs;
    })
    .concat(index);
}

/** The weights among a folder's files: one, or an index and its shards. */
function weights(files: HubFile[], folder: string, repo: string, variant: string | undefined): HubFile[] {
  const byName = new Map(files.map((file) => [file.path.slice(folder.length), file]));
  const names = [...byName.keys()];
  const name = chooseWeights(names, variant);
  if (name === undefined) {
    const pickle = names.find((candidate) => /\.(bin|ckpt|pt|pth|pkl)$/.test(candidate));
    const received = pickle ? `only ${folder}${pickle}, which can run code when it is read` : 'none';
    throw new HubError(`Expected safetensors in ${folder || 'the folder'} of ${repo} but found ${received}`);
  }
  const shard = shardsOf(name);
  const shards = shard ? names.filter((candidate) => shard.test(candidate)) : [];
  return [name, ...shards].map((chosen) => byName.get(chosen)!);
}

/** What the shards of an index are called; undefined for a file that is all of it. */
function shardsOf(name: string): RegExp | undefined {
  const match = /^([\w-]+(?:\.[\w-]+)?)\.safetensors\.index(?:\.([\w-]+))?\.json$/.exec(name);
  if (!match) return undefined;
  const stem = match[2] ? `${match[1]}.${match[2]}` : match[1]!;
  return new RegExp(`^${stem.replaceAll('.', '\\.')}-\\d{5}-of-\\d{5}\\.safetensors$`);
}

function noModel(files: readonly HubFile[], repo: string): HubError {
  const single = files.filter(({ path }) => path.endsWith('.safetensors')).map(({ path }) => path);
  const hint =
    single.length > 0 ? `. It has ${single.slice(0, 5).join(', ')}: name one, ${repo}/${single[0]}` : '';
  return new HubError(`Expected model_index.json or config.json in ${repo} but found neither${hint}`);
}
