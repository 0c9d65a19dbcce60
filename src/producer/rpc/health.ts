import { create, createFileRegistry, type DescService } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import type { V1Deps } from '../v1-call.ts';
import { refusedJson } from './connect-json.ts';
import { connectError } from './errors.ts';

const serving = 1;
const notServing = 2;
const watchMs = 2_000;

/** `grpc.health.v1`, as its published file says; there is no package of it for this runtime. */
const file = create(FileDescriptorProtoSchema, {
  name: 'grpc/health/v1/health.proto',
  package: 'grpc.health.v1',
  syntax: 'proto3',
  messageType: [
    {
      name: 'HealthCheckRequest',
      field: [
        {
          name: 'service',
          number: 1,
          type: FieldDescriptorProto_Type.STRING,
          label: FieldDescriptorProto_Label.OPTIONAL,
        },
      ],
    },
    {
      name: 'HealthCheckResponse',
      field: [
        {
          name: 'status',
          number: 1,
          type: FieldDescriptorProto_Type.ENUM,
          typeName: '.grpc.health.v1.HealthCheckResponse.ServingStatus',
          label: FieldDescriptorProto_Label.OPTIONAL,
        },
      ],
      enumType: [
        {
          name: 'ServingStatus',
          value: ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'].map((name, number) => ({ name, number })),
        },
      ],
    },
  ],
  service: [
    {
      name: 'Health',
      method: ['Check', 'Watch'].map((name) => ({
        name,
        inputType: '.grpc.health.v1.HealthCheckRequest',
        outputType: '.grpc.health.v1.HealthCheckResponse',
        serverStreaming: name === 'Watch',
      })),
    },
  ],
});

const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));

/** For servers and for clients of `Check` and `Watch`. */
export const healthService = registry.getService('grpc.health.v1.Health') as DescService;

type HealthRequest = { service: string };

/** Serving means what `/readyz` means: Redis answers and the order of changes is confirmed. */
export function registerHealth(router: ConnectRouter, { producer, closing }: V1Deps): void {
  const known = ['', ManagementService.typeName];
  const status = async () => {
    const ready = !closing.aborted && (await producer.isReady().catch(() => false));
    return { status: ready ? serving : notServing };
  };
  router.service(healthService, {
    async check({ service }: HealthRequest, context: HandlerContext) {
      const refused = context.values.get(refusedJson);
      if (refused) throw connectError(refused, []);
      if (!known.includes(service)) throw new ConnectError('unknown service', Code.NotFound);
      return status();
    },
    async *watch({ service }: HealthRequest, { signal }: { signal: AbortSignal }) {
      if (!known.includes(service)) {
        yield { status: 3 };
        return;
      }
      let last: number | undefined;
      while (!signal.aborted) {
        const now = await status();
        if (now.status !== last) yield now;
        last = now.status;
        if (closing.aborted) return;
        await pause(watchMs, signal, closing);
      }
    },
  } as never);
}

/** Ends early with any of the signals. No `AbortSignal.any`: Node 20 keeps what it makes as long as a source lives. */
function pause(ms: number, ...signals: AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    for (const signal of signals) signal.addEventListener('abort', end);
    if (signals.some(({ aborted }) => aborted)) end();
  });
}
