// Stores a conversation in Engram and reads it back by similarity and by attention.

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { Field } from "./gen/engram/v1/filter_pb.js";
import { ListOrder, MemoryService } from "./gen/engram/v1/memory_service_pb.js";

const conversation = [
  ["m1", "user", "pets", "My dog is called Ada and she is three years old."],
  ["m2", "assistant", "pets", "What a lovely name for a dog!"],
  ["m3", "user", "home", "The spare key is under the blue flower pot by the door."],
  ["m4", "assistant", "home", "I will remember where the key is."],
  ["m5", "user", "travel", "Our train to Vienna leaves on Friday at nine in the morning."],
  ["m6", "assistant", "travel", "Friday at nine, noted. Shall I look up the platform?"],
  ["m7", "user", "food", "I am allergic to peanuts, so no satay for me."],
];

const address = process.env.ENGRAM_ADDR ?? "127.0.0.1:7440";
const memory = createClient(
  MemoryService,
  createGrpcTransport({ baseUrl: `http://${address}`, defaultTimeoutMs: 10_000 }),
);

// The form that is fastest to send: little-endian float32, as typed arrays hold it
// on every processor that Node.js runs on today.
const vector = (...components) => ({ f32: new Uint8Array(new Float32Array(components).buffer) });
const textQuery = (text) => ({ text });
const vectorQuery = (...components) => ({ vector: vector(...components) });

async function byText() {
  const stored = await memory.store({
    namespace: "chat",
    records: conversation.map(([id, speaker, topic, text], i) => ({
      id,
      speaker,
      text,
      time: timestampFromMs(1_767_225_600_000 + 60_000 * i),
      metadata: { topic, turn: i + 1 },
    })),
  });
  console.log(`stored ${stored.results.length} records`);

  const question = "where is the spare key?";
  const found = await memory.retrieve({ namespaces: ["chat"], queries: [textQuery(question)], topK: 2 });
  console.log(`retrieve: ${question}`);
  for (const { record } of found.results[0].hits) {
    console.log(`  ${record.id} ${record.speaker}: ${record.text} (topic ${record.metadata.topic})`);
  }

  const attended = await memory.attend({ namespaces: ["chat"], queries: [textQuery(question)], topWeights: 2 });
  const { context, heads } = attended.results[0];
  console.log(`attend: over ${heads[0].attended} records, a context of ${context.values.length} components`);
  for (const { record } of heads[0].topWeights) {
    console.log(`  ${record.id} is among the heaviest`);
  }

  const condition = (operand, test) => ({ node: { case: "condition", value: { operand, test } } });
  const value = (kind, v) => ({ kind: { case: kind, value: v } });
  const listed = await memory.list({
    namespace: "chat",
    filter: {
      node: {
        case: "all",
        value: {
          filters: [
            condition(
              { case: "field", value: Field.SPEAKER },
              { case: "equals", value: value("stringValue", "user") },
            ),
            condition(
              { case: "metadata", value: { keys: ["turn"] } },
              { case: "range", value: { gte: value("numberValue", 3) } },
            ),
          ],
        },
      },
    },
    order: ListOrder.TIME_DESC,
  });
  console.log("list: what the user said from turn 3 on, newest first");
  for (const record of listed.records) {
    console.log(`  ${record.id} turn ${record.metadata.turn}`);
  }
}

async function byVector() {
  await memory.store({
    namespace: "directions",
    records: [
      { id: "north", key: vector(1, 0, 0, 0) },
      { id: "east", key: vector(0, 1, 0, 0) },
      { id: "north-east", key: vector(1, 1, 0, 0) },
    ],
  });
  const queries = [vectorQuery(1, 0.1, 0, 0)];
  const found = await memory.retrieve({ namespaces: ["directions"], queries, topK: 2 });
  console.log("retrieve by vector:");
  for (const { record, similarity } of found.results[0].hits) {
    console.log(`  ${record.id} ${similarity.toFixed(4)}`);
  }

  const attended = await memory.attend({ namespaces: ["directions"], queries, topWeights: 3 });
  const { context, heads } = attended.results[0];
  console.log(`attend by vector: context [${context.values.map((x) => x.toFixed(4)).join(", ")}]`);
  for (const { record, weight } of heads[0].topWeights) {
    console.log(`  ${record.id} ${weight.toFixed(4)}`);
  }
}

await byText();
await byVector();
