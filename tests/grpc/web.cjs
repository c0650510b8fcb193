// gRPC-Web calls by Connect's own client (@connectrpc/connect-node), over HTTP/1.1 and HTTP/2. Fails with the first assertion.
// `node web.cjs http://ADDRESS`
const assert = require("node:assert/strict");
const { create, createFileRegistry } = require("@bufbuild/protobuf");
const { FileDescriptorProtoSchema, file_google_protobuf_wrappers } = require("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = require("@connectrpc/connect");
const { createGrpcWebTransport } = require("@connectrpc/connect-node");

const type = ".google.protobuf.StringValue";
const method = (name, serverStreaming) => ({ name, inputType: type, outputType: type, serverStreaming });
const file = create(FileDescriptorProtoSchema, {
  name: "calls.proto",
  package: "test",
  syntax: "proto3",
  dependency: ["google/protobuf/wrappers.proto"],
  service: [{
    name: "Calls",
    method: [
      method("Unary", false), method("Repeat", true), method("Abort", false), method("FailLate", true),
      method("Nothing", false), method("Hang", false),
    ],
  }],
});
const Calls = createFileRegistry(file, () => file_google_protobuf_wrappers).getService("test.Calls");

async function refused(call, code) {
  const error = await call().then(() => assert.fail("the call went well"), (error) => ConnectError.from(error));
  assert.equal(Code[error.code], Code[code], error.message);
  return error;
}

async function every(httpVersion) {
  const transport = createGrpcWebTransport({ baseUrl: process.argv[2], httpVersion });
  const client = createClient(Calls, transport);
  let trailer;
  const options = { headers: { "x-said": "hello" }, onTrailer: (fields) => { trailer = fields; } };
  const large = "x".repeat(300_000);
  assert.equal((await client.unary({ value: large }, options)).value, large);
  assert.equal(trailer.get("x-twice"), "1, 2");
  let count = 0;
  for await (const answer of client.repeat({ value: "again" })) {
    assert.equal(answer.value, "again");
    count += 1;
  }
  assert.equal(count, 1000);
  const error = await refused(() => client.abort({ value: "grün, 100%" }), Code.FailedPrecondition);
  assert.match(error.rawMessage, /grün, 100%/);
  await refused(async () => { for await (const _ of client.failLate({ value: "" })); }, Code.DataLoss);
  await refused(() => client.nothing({}), Code.Unimplemented);
  await refused(() => client.hang({}, { timeoutMs: 500 }), Code.DeadlineExceeded);
}

Promise.all([every("1.1"), every("2")]).then(
  () => { console.log("every call well"); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
