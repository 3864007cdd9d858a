// Prints, for each test vector of protos/cache_key_vectors.json, what this client computes.
import { readFileSync } from 'node:fs';
import { cacheKey, canonicalBytes } from './cache_key.mjs';

// Integers beyond 2^53 would lose digits as JSON numbers: seeds are read as text.
const source = readFileSync(process.argv[2], 'utf8').replace(/"(seed|variation)":\s*(-?\d+)/g, '"$1": "$2"');
const vectors = JSON.parse(source);
const computed = vectors.map(({ name, tenant, variation, request }) => {
  const whole = { ...request, tenant, variation };
  return { name, canonical_hex: canonicalBytes(whole).toString('hex'), key: cacheKey(whole) };
});
process.stdout.write(JSON.stringify(computed) + '\n');
