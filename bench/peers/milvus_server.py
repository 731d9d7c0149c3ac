"""A Milvus Lite server with a collection of the rows. It is asked over gRPC."""

import importlib.metadata
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    import milvus_lite  # noqa: F401, whose server is a program
    from pymilvus import DataType, MilvusClient
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from curve import EFFORTS, Curve


class Milvus(Curve):
    server = None

    def about(self, q):
        return {"about": f"Milvus Lite {importlib.metadata.version('milvus-lite')}, one query a call over gRPC"}

    def make(self, variant):
        rows, dim = self.keys.shape
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{s.getsockname()[1]}"
        self.dir = tempfile.TemporaryDirectory()
        program = pathlib.Path(sys.executable).parent / "milvus-lite"
        host, port = self.address.split(":")
        command = [program, "server", "--data-dir", self.dir.name, "--host", host, "--port", port]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                client = MilvusClient(f"http://{self.address}", timeout=5)
                break
            except Exception:  # not yet up
                time.sleep(0.1)
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("key", DataType.FLOAT_VECTOR, dim=dim)
        client.create_collection("rows", schema=schema)
        for i in range(0, rows, 1000):
            client.insert("rows", [{"id": i + j, "key": v} for j, v in enumerate(self.keys[i : i + 1000])])
        client.flush("rows")
        index = client.prepare_index_params()
        index.add_index("key", index_type="HNSW", metric_type="IP", params={"M": 32, "efConstruction": 200})
        client.create_index("rows", index)
        client.load_collection("rows")
        return "HNSW, M 32, efConstruction 200", [[[ef] for ef in EFFORTS]]

    def build(self, q):
        return super().build(q) | {"address": self.address, "pid": self.server.pid}

    def threads(self, n):
        pass  # the server's own affair

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait()


Milvus().serve()
