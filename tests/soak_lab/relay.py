"""The way to a host, as a ProxyCommand: relay.py HOST NOTES

SOAK_RELAY says what happens on it, after so many bytes of both directions together: `count` (nothing),
`cut BYTES` (the connection ends), `silence BYTES` (it stands, and nothing comes through any more).
In the directory NOTES it leaves its caller's pid, its own, how many bytes went through, and
whether it has come to that.
"""
import os
import select
import signal
import socket
import sys

host, notes = sys.argv[1:3]
mode, _, limit = os.environ.get("SOAK_RELAY", "count").partition(" ")
left = int(limit or 1 << 60)
through = 0


def note(name, value):
    with open(f"{notes}/{name}.new", "w") as file:
        file.write(str(value))
    os.rename(f"{notes}/{name}.new", f"{notes}/{name}")


note("relay", os.getpid())
note("caller", os.getppid())
# At any time: this process ends by SIGKILL when its caller needs it no more.
count = os.open(f"{notes}/bytes", os.O_WRONLY | os.O_CREAT)
wire = socket.create_connection((host, 22))
wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while True:
    ready, _, _ = select.select([0, wire], [], [])
    for end in ready:
        block = os.read(0, 65536) if end == 0 else wire.recv(65536)
        passed = block[:left]
        left -= len(passed)
        through += len(passed)
        os.pwrite(count, b"%020d" % through, 0)
        if end == 0:
            wire.sendall(passed)
        else:
            while passed:
                passed = passed[os.write(1, passed):]
        if block and left:
            continue
        if not block:
            sys.exit()
        note("happened", mode)
        if mode == "silence":
            while True:
                signal.pause()
        sys.exit()
