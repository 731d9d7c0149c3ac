"""A Chroma server with a collection of the rows. It is asked over HTTP."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

os.environ["ANONYMIZED_TELEMETRY"] = "False"

try:
    import chromadb
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from curve import EFFORTS, Curve


class Chroma(Curve):
    server = None

    def about(self, q):
        return {"about": f"Chroma {chromadb.__version__}, one query a call over HTTP"}

    def make(self, variant):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.port, self.dir = port, tempfile.TemporaryDirectory()
        client = self.start()
        rows = len(self.keys)
        hnsw = {"space": "ip", "max_neighbors": 32, "ef_construction": 200, "sync_threshold": max(1000, rows // 4), "batch_size": 1000}
        self.rows = client.create_collection("rows", configuration={"hnsw": hnsw}, embedding_function=None)
        for i in range(0, rows, 1000):
            batch = self.keys[i : i + 1000]
            self.rows.add(ids=[str(j) for j in range(i, i + len(batch))], embeddings=batch)
        path = f"/api/v2/tenants/{client.tenant}/databases/{client.database}/collections/{self.rows.id}/query"
        self.address = f"http://127.0.0.1:{port}{path}"
        return "max_neighbors 32, ef_construction 200", [[[ef] for ef in EFFORTS]]

    def start(self):
        program = pathlib.Path(sys.executable).parent / "chroma"
        command = [program, "run", "--path", self.dir.name, "--host", "127.0.0.1", "--port", str(self.port)]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(300):
            try:
                return chromadb.HttpClient(host="127.0.0.1", port=self.port)
            except Exception:  # not yet up
                time.sleep(0.1)
        raise RuntimeError("chroma isn't up after half a minute")

    def build(self, q):
        return super().build(q) | {"address": self.address, "pid": self.server.pid}

    def threads(self, n):
        pass  # the server's own affair

    def set(self, q):
        """A server that runs keeps the ef it has begun with."""
        self.rows.modify(configuration={"hnsw": {"ef_search": q["setting"][0]}})
        self.stop()
        self.rows = self.start().get_collection("rows", embedding_function=None)
        self.rows.query(query_embeddings=self.asked[:10], n_results=q["top"], include=[])
        return {}

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait()


Chroma().serve()
