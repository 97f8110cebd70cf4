#!/usr/bin/env node
// Brings the table of settings.md up to date with sidecar/settings/table.ts: npm run build && node docs/settings.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { updated } from '../dist/sidecar/settings/page.js';

const file = new URL('settings.md', import.meta.url);
writeFileSync(file, updated(readFileSync(file, 'utf8')));
