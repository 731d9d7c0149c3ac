"""Answers questions, one JSON object a line, until standard input ends."""

import json
import sys
import time

import numpy


class Peer:
    """A peer loads vectors, runs a piece of work and says how long that took."""

    keys = values = asked = None

    def about(self, q):
        raise NotImplementedError

    def prepare(self):
        """After new vectors."""

    def build(self, q):
        """An index, of peers that have several."""
        raise NotImplementedError

    def set(self, q):
        """A setting that is the server's, not a query's."""
        return {}

    def stop(self):
        """After the last question."""

    def work(self, q):
        """The work of one question, returned as answer() wants it."""
        raise NotImplementedError

    def threads(self, n):
        raise NotImplementedError

    def read(self, path, dim):
        return numpy.fromfile(path, dtype="<f4").reshape(-1, dim)

    def load(self, q):
        self.keys, self.asked = (self.read(q[name], q["dim"]) for name in ("keys", "asked"))
        self.values = self.read(q["values"], q["dim"]) if q.get("values") else None
        self.prepare()
        return {}

    def run(self, q):
        self.threads(q["threads"])
        start = time.perf_counter()
        self.work(q)
        return {"seconds": time.perf_counter() - start}

    def answer(self, q):
        self.threads(q["threads"])
        return self.result(self.work(q))

    def result(self, work):
        raise NotImplementedError

    def serve(self):
        handlers = {"about": self.about, "load": self.load, "build": self.build, "set": self.set, "run": self.run, "answer": self.answer}
        for line in sys.stdin:
            q = json.loads(line)
            try:
                a = handlers[q["op"]](q)
            except Exception as e:  # told to the asker, who ends the run
                a = {"error": repr(e)}
            print(json.dumps(a), flush=True)
        self.stop()
