"""A thousand bad records in one Store: a client with gRPC's defaults reads what is wrong."""

import os
import re

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from engram.v1 import memory_service_pb2, memory_service_pb2_grpc, record_pb2

RECORDS = 1000


def main():
    bad = [record_pb2.Record(id=f"r{i}", text="x", importance=2) for i in range(RECORDS)]
    with grpc.insecure_channel(os.environ.get("ENGRAM_ADDR", "127.0.0.1:7440")) as channel:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        try:
            memory.Store(memory_service_pb2.StoreRequest(namespace="bad", records=bad), timeout=30)
        except grpc.RpcError as error:
            refusal = error
        else:
            raise SystemExit("the server took 1,000 records whose importance is 2")
        assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT, refusal

        details = rpc_status.from_call(refusal).details
        assert len(details) == 1, details
        wrong = error_details_pb2.BadRequest()
        assert details[0].Unpack(wrong), details[0]
        *named, last = wrong.field_violations
        for i, violation in enumerate(named):
            assert violation.field == f"records[{i}].importance", violation
        left_out = re.search(r"\d[\d,]*", last.description)
        assert left_out, last
        assert len(named) + int(left_out[0].replace(",", "")) == RECORDS, (len(named), last)

        try:
            memory.Count(memory_service_pb2.CountRequest(namespace="bad"), timeout=10)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        else:
            raise SystemExit("a refused Store left its namespace behind")
        print(f"{RECORDS} bad records refused: {len(named)} named, and {last.description!r}")


if __name__ == "__main__":
    main()
