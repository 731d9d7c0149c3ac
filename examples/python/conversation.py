"""Stores a conversation in Engram and reads it back by similarity and by attention."""

import os
import struct

import grpc
from google.protobuf import struct_pb2, timestamp_pb2

from engram.v1 import filter_pb2, memory_service_pb2, memory_service_pb2_grpc, record_pb2

CONVERSATION = [  # id, speaker, topic, what was said
    ("m1", "user", "pets", "My dog is called Ada and she is three years old."),
    ("m2", "assistant", "pets", "What a lovely name for a dog!"),
    ("m3", "user", "home", "The spare key is under the blue flower pot by the door."),
    ("m4", "assistant", "home", "I will remember where the key is."),
    ("m5", "user", "travel", "Our train to Vienna leaves on Friday at nine in the morning."),
    ("m6", "assistant", "travel", "Friday at nine, noted. Shall I look up the platform?"),
    ("m7", "user", "food", "I am allergic to peanuts, so no satay for me."),
]


def vector(*components):
    """The form that is fastest to send: little-endian float32."""
    return record_pb2.Vector(f32=struct.pack(f"<{len(components)}f", *components))


def by_text(memory):
    records = []
    for i, (id, speaker, topic, text) in enumerate(CONVERSATION):
        metadata = struct_pb2.Struct()
        metadata.update({"topic": topic, "turn": i + 1})
        time = timestamp_pb2.Timestamp(seconds=1_767_225_600 + 60 * i)
        records.append(record_pb2.Record(id=id, text=text, speaker=speaker, time=time, metadata=metadata))
    stored = memory.Store(memory_service_pb2.StoreRequest(namespace="chat", records=records), timeout=10)
    print(f"stored {len(stored.results)} records")

    question = memory_service_pb2.Query(text="where is the spare key?")
    found = memory.Retrieve(
        memory_service_pb2.RetrieveRequest(namespaces=["chat"], queries=[question], top_k=2), timeout=10
    )
    print("retrieve: where is the spare key?")
    for hit in found.results[0].hits:
        print(f"  {hit.record.id} {hit.record.speaker}: {hit.record.text} (topic {hit.record.metadata['topic']})")

    attended = memory.Attend(
        memory_service_pb2.AttendRequest(namespaces=["chat"], queries=[question], top_weights=2), timeout=10
    )
    head = attended.results[0].heads[0]
    print(f"attend: over {head.attended} records, a context of {len(attended.results[0].context.values)} components")
    for weight in head.top_weights:
        print(f"  {weight.record.id} is among the heaviest")

    recalled = memory.Recall(
        memory_service_pb2.RecallRequest(
            namespaces=["chat"], query=question, max_tokens=40, last=1, template="{speaker}: {text}"
        ),
        timeout=10,
    )
    print("recall: a prompt of at most 40 tokens")
    for record in recalled.records:
        print(f"  {record.record.id} of {record.tokens} tokens")
    print(recalled.prompt, end="")

    of_user = filter_pb2.Filter(
        condition=filter_pb2.Condition(field=filter_pb2.FIELD_SPEAKER, equals=struct_pb2.Value(string_value="user"))
    )
    late = filter_pb2.Filter(
        condition=filter_pb2.Condition(
            metadata=filter_pb2.MetadataPath(keys=["turn"]),
            range=filter_pb2.Range(gte=struct_pb2.Value(number_value=3)),
        )
    )
    listed = memory.List(
        memory_service_pb2.ListRequest(
            namespace="chat",
            filter=filter_pb2.Filter(all=filter_pb2.FilterList(filters=[of_user, late])),
            order=memory_service_pb2.LIST_ORDER_TIME_DESC,
        ),
        timeout=10,
    )
    print("list: what the user said from turn 3 on, newest first")
    for record in listed.records:
        print(f"  {record.id} turn {record.metadata['turn']:.0f}")


def by_vector(memory):
    keys = {"north": (1, 0, 0, 0), "east": (0, 1, 0, 0), "north-east": (1, 1, 0, 0)}
    memory.Store(
        memory_service_pb2.StoreRequest(
            namespace="directions",
            records=[record_pb2.Record(id=id, key=vector(*key)) for id, key in keys.items()],
        ),
        timeout=10,
    )
    query = memory_service_pb2.Query(vector=vector(1, 0.1, 0, 0))
    found = memory.Retrieve(
        memory_service_pb2.RetrieveRequest(namespaces=["directions"], queries=[query], top_k=2), timeout=10
    )
    print("retrieve by vector:")
    for hit in found.results[0].hits:
        print(f"  {hit.record.id} {hit.similarity:.4f}")

    attended = memory.Attend(
        memory_service_pb2.AttendRequest(namespaces=["directions"], queries=[query], top_weights=3), timeout=10
    ).results[0]
    print("attend by vector: context", [round(x, 4) for x in attended.context.values])
    for weight in attended.heads[0].top_weights:
        print(f"  {weight.record.id} {weight.weight:.4f}")


def main():
    with grpc.insecure_channel(os.environ.get("ENGRAM_ADDR", "127.0.0.1:7440")) as channel:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        by_text(memory)
        by_vector(memory)


if __name__ == "__main__":
    main()
