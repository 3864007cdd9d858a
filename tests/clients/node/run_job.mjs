// Creates a job, adds items, starts it, watches its progress and collects its results; prints what it saw as JSON.
// Usage: node run_job.mjs PROCESSOR_ADDRESS TRACKER_ADDRESS ITEM_COUNT
import { cacheKey } from './cache_key.mjs';
import { connect } from './contracts.mjs';

const [processorAddress, trackerAddress, count] = process.argv.slice(2);
const processor = connect('processor', 'ProcessorService', processorAddress);
const tracker = connect('tracker', 'TrackerService', trackerAddress);

const messages = (number) => [{ role: 'ROLE_USER', content: `Write one line about the number ${number}.` }];

function item(number) {
  const raw = { messages: messages(number), max_tokens: 64, temperature: 0.5 };
  return { item_id: `item-${number}`, spec: { raw, content_type: 'text', model: 'mock' } };
}

function expectedKey(number) {
  const plain = messages(number).map(({ content }) => ({ role: 'user', content }));
  return cacheKey({ tenant: 'default', model: 'mock', messages: plain, max_tokens: 64, temperature: 0.5 });
}

async function collect(stream, take) {
  for await (const frame of stream) take(frame);
}

const numbers = [...Array(Number(count)).keys()];
const { job } = await processor.call('CreateJob', { display_name: 'from Node', labels: { client: 'node' } });
const added = await processor.call('BatchAddItems', { job_id: job.job_id, items: numbers.map(item) });
const watch = { job_id: job.job_id, mode: 'WATCH_MODE_EVENTS', wait_for_job: true };
const events = [];
const results = [];
const watching = collect(tracker.stream('WatchProgress', watch), (frame) => events.push(...frame.events));
await processor.call('StartJob', { job_id: job.job_id });
await collect(processor.stream('StreamResults', { job_id: job.job_id }), (frame) => results.push(...frame.results));
await watching;
const finished = (await processor.call('GetJob', { job_id: job.job_id })).job;
let refusal = null;
try {
  await processor.call('GetJob', { job_id: 'no-such-job' });
} catch (error) {
  refusal = { code: error.code, details: error.metadata.get('grpc-status-details-bin').length };
}
process.stdout.write(
  JSON.stringify({
    added: added.results.map((each) => each.outcome),
    state: finished.state,
    succeeded: finished.counts.succeeded,
    sequences: events.map((each) => each.sequence),
    item_events: events.filter((each) => each.event === 'item').map((each) => [each.item.item_id, each.item.state]),
    job_states: events.filter((each) => each.event === 'job').map((each) => each.job.state),
    results: results.map((each) => ({ item_id: each.item_id, state: each.state, key: each.piece.cache_key, content: each.piece.content })),
    expected_keys: Object.fromEntries(numbers.map((number) => [`item-${number}`, expectedKey(number)])),
    refusal,
  }) + '\n',
);
processor.close();
tracker.close();
