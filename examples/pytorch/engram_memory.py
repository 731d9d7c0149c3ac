"""The keys and values of one attention layer, kept in Engram."""

import numpy
import torch

from engram.v1 import memory_service_pb2, memory_service_pb2_grpc, namespace_service_pb2
from engram.v1 import namespace_service_pb2_grpc, record_pb2

# What the server takes: records and queries of a step, queries × query_heads × top_k of it.
# A message stays well under the 4 MiB that clients take by default.
MAX_RECORDS = 1000
MAX_QUERIES = 256
MAX_TOP = 65536
MESSAGE_BYTES = 1 << 20


class EngramMemory:
    """Keys and values of a batch of sequences, a namespace each, with a record a token.

    A record holds the key and the value of a token in all heads, one after the other. Its
    position is the token's number, and its id too, so that a step sent again stores nothing
    twice. The namespaces are made here, and deleted by delete() or at the end of a with
    statement. They have DURABILITY_NONE, as what is in them can be computed again.

    channel: a grpc.Channel.
    name: what the namespaces' names begin with; they mustn't exist.
    sequences: how many sequences stand in a batch.
    kv_heads, head_dim: how many heads keys and values have, and the components of each.
    last: attend to so many tokens, the last that are stored; 0: to all.
    top_k: attend, in each head, to so many tokens of the greatest scores; 0: to all (Wu et
        al., Memorizing Transformers, 2022).
    timeout: the most seconds that a step may take.
    """

    def __init__(self, channel, name, sequences, kv_heads, head_dim, last=0, top_k=0, timeout=60):
        self.namespaces = [f"{name}/{i}" for i in range(sequences)]
        self.kv_heads = kv_heads
        self.head_dim = head_dim
        self.last = last
        self.top_k = top_k
        self.timeout = timeout
        self._memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        self._namespaces = namespace_service_pb2_grpc.NamespaceServiceStub(channel)
        for namespace in self.namespaces:
            made = namespace_service_pb2.Namespace(
                name=namespace,
                metric=namespace_service_pb2.METRIC_DOT,
                dimension=kv_heads * head_dim,
                kv_heads=kv_heads,
                durability=namespace_service_pb2.DURABILITY_NONE,
                lexical=namespace_service_pb2.LEXICAL_NONE,
            )
            self._namespaces.Create(
                namespace_service_pb2.NamespaceServiceCreateRequest(namespace=made), timeout=timeout
            )

    def step(self, start, keys, values, queries):
        """Stores keys and values, then attends with queries to all that is before them.

        start: the position of the first key; the queries attend to the positions before the
            one after the last key.
        keys, values: [sequences, kv_heads, tokens, head_dim]; tokens may be 0.
        queries: [sequences, query_heads, queries, head_dim].

        Returns the context, as queries in shape, dtype and device, and in float64 the
        log-sum-exp, [sequences, query_heads, queries]: -inf where nothing is stored.
        Neither carries a gradient.
        """
        sequences, heads, number, _ = queries.shape
        if sequences != len(self.namespaces):
            raise ValueError(f"a batch of {sequences}; this is the memory of {len(self.namespaces)}")
        keys, values, queries_ = _rows(keys), _rows(values), _rows(queries)

        def requests():
            for i in range(sequences):
                yield from self._stores(self.namespaces[i], start, keys[i], values[i])
                yield from self._asks(self.namespaces[i], start + keys.shape[1], heads, queries_[i])

        context = numpy.empty((sequences * number, queries_.shape[2]), "<f4")
        log_sum_exp = numpy.empty((sequences * number, heads))
        got = 0
        for reply in self._memory.AttendStream(requests(), timeout=self.timeout, wait_for_ready=True):
            for result in reply.attended.results:
                context[got] = numpy.frombuffer(result.context.f32, "<f4")
                log_sum_exp[got] = [head.log_sum_exp for head in result.heads]
                got += 1
        assert got == sequences * number, (got, sequences, number)
        context = torch.from_numpy(context).view(sequences, number, heads, -1).transpose(1, 2)
        log_sum_exp = torch.from_numpy(log_sum_exp).view(sequences, number, heads).transpose(1, 2)
        return context.to(queries), log_sum_exp.to(queries.device)

    def _stores(self, namespace, start, keys, values):
        for piece in _pieces(len(keys), MAX_RECORDS, 8 * keys.shape[1]):
            records = [
                record_pb2.Record(
                    id=str(start + t), position=start + t, key=_vector(keys[t]), value=_vector(values[t])
                )
                for t in piece
            ]
            yield memory_service_pb2.AttendStreamRequest(namespace=namespace, records=records)

    def _asks(self, namespace, before, heads, queries):
        attend = memory_service_pb2.AttendRequest(
            query_heads=heads,
            top_k=self.top_k,
            window=memory_service_pb2.Window(last=self.last, before_position=before),
            include=record_pb2.Include(vector_form=record_pb2.VECTOR_FORM_F32),
        )
        most = min(MAX_QUERIES, MAX_TOP // (heads * self.top_k)) if self.top_k else MAX_QUERIES
        for piece in _pieces(len(queries), most, 4 * queries.shape[1]):
            yield memory_service_pb2.AttendStreamRequest(
                namespace=namespace,
                attend=attend,
                queries=[memory_service_pb2.Query(vector=_vector(queries[t])) for t in piece],
            )

    def delete(self):
        """Deletes the namespaces with all that is in them."""
        for namespace in self.namespaces:
            self._namespaces.Delete(
                namespace_service_pb2.NamespaceServiceDeleteRequest(name=namespace), timeout=self.timeout
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.delete()


def _rows(tensor):
    """[sequences, heads, tokens, dim] as little-endian float32, [sequences, tokens, heads × dim]."""
    rows = tensor.detach().transpose(1, 2).flatten(2)
    return numpy.ascontiguousarray(rows.to("cpu", torch.float32).numpy(), "<f4")


def _vector(row):
    return record_pb2.Vector(f32=row.tobytes())


def _pieces(number, most, size):
    """range(number) in pieces of at most so many, and of at most a message's bytes."""
    most = max(1, min(most, MESSAGE_BYTES // size))
    return [range(i, min(i + most, number)) for i in range(0, number, most)]
