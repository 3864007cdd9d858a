// The cache key of a request, from the derivation in protos/README.md alone.
import { createHash } from 'node:crypto';

const PREFIX = Buffer.from('contentfactory.cache.key/1\n', 'ascii');

function field(tag, value) {
  const head = Buffer.alloc(5);
  head.writeUInt8(tag, 0);
  head.writeUInt32BE(value.length, 1);
  return Buffer.concat([head, value]);
}

const text = (tag, value) => field(tag, Buffer.from(value, 'utf8'));

function integer(tag, value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return field(tag, bytes);
}

function double(tag, value) {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return field(tag, bytes);
}

const isSet = (value) => value !== undefined && value !== null;

export function canonicalBytes(request) {
  const parts = [PREFIX, text(1, request.tenant), text(2, request.model)];
  for (const message of request.messages) {
    parts.push(text(3, message.role), text(4, message.content));
  }
  parts.push(integer(5, request.max_tokens));
  if (isSet(request.temperature)) parts.push(double(6, request.temperature));
  if (isSet(request.top_p)) parts.push(double(7, request.top_p));
  if (isSet(request.seed)) parts.push(integer(8, request.seed));
  for (const stop of request.stop ?? []) parts.push(text(9, stop));
  if (isSet(request.variation) && BigInt(request.variation) !== 0n) parts.push(integer(10, request.variation));
  return Buffer.concat(parts);
}

export function cacheKey(request) {
  return 'k1-' + createHash('sha256').update(canonicalBytes(request)).digest('hex');
}
