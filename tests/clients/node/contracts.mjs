// Loads the published .proto files as they are: no generated code.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const PROTOS = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../protos');
const OPTIONS = {
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
  includeDirs: [PROTOS, path.join(PROTOS, 'third_party')],
};

// Returns a client of one service of one contract; its unary methods return promises as `call(name, request)`.
export function connect(contract, service, address) {
  const definition = protoLoader.loadSync(`contentfactory/${contract}/v1/${contract}.proto`, OPTIONS);
  const loaded = grpc.loadPackageDefinition(definition);
  const client = new loaded.contentfactory[contract].v1[service](address, grpc.credentials.createInsecure());
  return {
    call: (method, request) =>
      new Promise((resolve, reject) => {
        const deadline = new Date(Date.now() + 30_000);
        client[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
      }),
    stream: (method, request) => client[method](request, { deadline: new Date(Date.now() + 90_000) }),
    close: () => client.close(),
  };
}
