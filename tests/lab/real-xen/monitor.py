#!/usr/bin/env python3
"""monitor.py SOCKET COMMAND - a command for the monitor of a running qemu (QMP socket), as a person would type it there.
Prints what it answers; exit 1 where that is an error: `savevm` and its like say so in words alone."""
import json, socket, sys

s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
qemu = s.makefile("rw")
json.loads(qemu.readline())  # its greeting


def execute(what, **arguments):
    qemu.write(json.dumps({"execute": what, "arguments": arguments}) + "\n")
    qemu.flush()
    for line in qemu:
        answer = json.loads(line)
        if "event" not in answer:
            return answer
    sys.exit("the monitor went away")


execute("qmp_capabilities")
answer = execute("human-monitor-command", **{"command-line": " ".join(sys.argv[2:])})
said = answer.get("return", answer.get("error", {}).get("desc", ""))
print(said, end="")
sys.exit(1 if "error" in answer or said.startswith("Error") else 0)
