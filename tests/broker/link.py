# SPDX-License-Identifier: Apache-2.0
"""A network between a program and the brokers that can be cut: what the brokers tell that program are ports of ours, on loopback.

    link = Link(3)                         # a port for each of three brokers
    kafka.start_set(..., listeners=[[link.listener("LINK", number)] for number in range(3)])
    link.address                           # what that program is told to connect to
    link.cut()                             # connections stay, nothing passes: as a cable that is pulled out
    link.cut(Link.ANSWERS)                 # what the program sends arrives, and it hears of nothing
    link.refuse()                          # connections end, and new ones are refused
    link.delay(0.2)                        # everything arrives so much later
    link.mend()                            # as before; what was held back arrives now, as TCP sends it again

One thread carries all of it. What a cut holds back is what buffers take; then the sender waits, as it would without answers from TCP.
"""

import asyncio
import contextlib
import threading

import kafka

CHUNK_BYTES = 65536
HELD_CHUNKS = 64


class Link:
    REQUESTS, ANSWERS, BOTH = {"requests"}, {"answers"}, {"requests", "answers"}

    def __init__(self, brokers=1):
        ports = kafka.free_ports(2 * brokers)
        self.told, self.real = ports[:brokers], ports[brokers:]
        self.address = ",".join(f"127.0.0.1:{port}" for port in self.told)
        self.stopped = set()      # directions in which nothing passes
        self.delay_s = 0
        self.servers, self.connections = [], set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self.begin())
        self.call(self.listen())

    def listener(self, name, number):
        """Of that broker, counted from 0: (name, the port where it listens, the one it tells this program)."""
        return name, self.real[number], self.told[number]

    # ---- what a test asks for

    def cut(self, directions=BOTH):
        self.call(self.pass_only(directions))

    def delay(self, seconds):
        self.delay_s = seconds

    def refuse(self):
        self.call(self.unlisten())
        self.call(self.drop())

    def mend(self):
        self.delay_s = 0
        self.call(self.listen())
        self.call(self.pass_only(set()))

    def end(self):
        self.refuse()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    # ---- in the thread

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def begin(self):
        self.passing = asyncio.Condition()

    async def pass_only(self, stopped):
        async with self.passing:
            self.stopped = set(stopped)
            self.passing.notify_all()

    async def listen(self):
        if not self.servers:
            for told, real in zip(self.told, self.real):
                async def connect(reader, writer, real=real):
                    await self.carry(reader, writer, real)
                self.servers.append(await asyncio.start_server(connect, "127.0.0.1", told, limit=CHUNK_BYTES))

    async def unlisten(self):
        for server in self.servers:
            server.close()
        self.servers = []

    async def drop(self):
        connections, self.connections = self.connections, set()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def carry(self, reader, writer, real):
        """One connection, until one side ends it or it is dropped."""
        task = asyncio.current_task()
        self.connections.add(task)
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", real, limit=CHUNK_BYTES)
            writers.append(far_writer)
            pumps = [asyncio.ensure_future(pump) for pump in (*self.pumps("requests", reader, far_writer), *self.pumps("answers", far_reader, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the broker is not there, or the link refuses
        finally:
            self.connections.discard(task)
            for each in writers:
                each.transport.abort()

    def pumps(self, direction, reader, writer):
        held = asyncio.Queue(HELD_CHUNKS)
        return self.take(direction, reader, held), self.give(direction, held, writer)

    async def take(self, direction, reader, held):
        while True:
            data = await reader.read(CHUNK_BYTES)
            await held.put((self.loop.time() + self.delay_s, data))
            if not data:
                await asyncio.Event().wait()  # the other half ends the connection, once all before has passed

    async def give(self, direction, held, writer):
        with contextlib.suppress(OSError):
            while True:
                due_s, data = await held.get()
                await asyncio.sleep(max(0, due_s - self.loop.time()))
                async with self.passing:
                    await self.passing.wait_for(lambda: direction not in self.stopped)
                if not data:
                    return
                writer.write(data)
                await writer.drain()
