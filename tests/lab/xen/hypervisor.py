"""hypervisor.py - a STAND-IN for Xen: no hypervisor, but a table of domains that goes through the states which a
real Xen 4.17 was recorded going through (captures/). Its guests are hosts of the lab, which it powers up, freezes
and cuts. One for each lab that has a dom0; it is started and killed with dom0's machine (hosts.sh: _power), so
that after a power cut it knows nothing and all its guests are off.

    hypervisor.py --dir DIR [--lab LAB.SH]

DIR/dev/privcmd is its socket (dom0 sees it as /dev/xen/privcmd), DIR/guests names the domains that are hosts of the
lab, DIR/speed says how long things take: 1 as the real one, read anew all the time. A domain of any other name
runs too, as a row in the table. Without --lab all are. One JSON object a line each way; `xl` does the talking.
"""
import argparse, json, os, re, select, signal, socket, subprocess, sys, threading, time, uuid

# seconds at factor 1, from poll-during-*.log and the `seconds:` of the captures
T_NONAME, T_BUILD, T_MEM, T_DEVICES = 0.8, 10.0, 0.8, 5.0  # (null); 0 0; 128 0; 128 1; then it runs
T_BOOT = 8.0            # r----- before it is mostly -b----
T_GOING_DOWN = 2.2      # a guest without a lab host, until it is down
T_REBOOTING = 1.2       # ---sr-
T_TEARDOWN = 5.0        # --ps--, --psr-
T_NO_DOMAIN = 2.4       # between the old and the new domain of a reboot
T_DYING = 3.0           # --p--- of `destroy`
T_NO_BRIDGE, T_NO_MEMORY = 21.0, 14.0
T_NO_NOTICE = 60.0      # `xl shutdown`, to a guest whose kernel does not answer
TOTAL_MEMORY, DOM0_MEMORY = 8191, 640
lock = threading.RLock()
domains, next_id, started = {}, 1, time.monotonic()


class Gone(Exception):
    """the `xl` that asked was killed"""


class Domain:
    def __init__(self, cfg):
        global next_id
        self.id, self.cfg, self.real_name = next_id, cfg, cfg["name"]
        next_id += 1
        self.name, self.mem, self.vcpus, self.paused = None, 0, 0, 1
        self.shutdown = None     # the reason, once it is down: poweroff, reboot, crash
        self.dying = self.started = self.monitored = False
        self.asked = None        # what its on_... is judged by, where `xl` said more than the exit status
        # A Linux whose init does not run yet takes a request and does nothing. When that is, is a matter of chance, so
        # here it is said: `deaf=2` in the guest's `extra` takes two in vain, `deaf` takes all. A `hung` one takes none.
        deaf = re.search(r"\bdeaf(?:=(\d+))?\b", cfg.get("cmdline") or "")
        self.deaf = int(deaf[1] or 1 << 30) if deaf else 0
        self.hung = "hung" in (cfg.get("cmdline") or "").split()
        self.uuid = cfg.get("uuid") or str(uuid.uuid4())
        self.born, self.busy_since, self.busy = time.monotonic(), None, 0.0

    def host(self):
        return self.real_name if lab and self.real_name in open(os.path.join(dir, "guests")).read().split() else None

    def time(self):
        return 0.0 if self.busy_since is None else min(time.monotonic() - self.busy_since, 10) + self.busy

    def running(self):
        return self.busy_since is not None and time.monotonic() - self.busy_since < T_BOOT * factor()

    def state(self):
        if self.shutdown:
            return "--%ss%s-" % ("p" if self.paused else "-", {"poweroff": "-", "reboot": "r", "crash": "c"}[self.shutdown])
        if self.paused:
            return "--p---"
        if not self.vcpus:
            return "------"  # unpaused while half built
        return "r-----" if self.running() else "-b----"

    def row(self):
        return {"id": self.id, "name": self.name, "mem": self.mem, "vcpus": self.vcpus, "state": self.state(), "cfg": self.cfg,
                "uuid": self.uuid, "time": self.time(), "uptime": int(time.monotonic() - self.born)}


def factor():
    try:
        return max(float(open(os.path.join(dir, "speed")).read()), 0.001)
    except (OSError, ValueError):
        return 0.1


def hold(seconds, conn=None, until=lambda: False):
    """Let so many of Xen's seconds pass, at whatever speed is set meanwhile. True: `until` came first."""
    while seconds > 0:
        if until():
            return True
        step = min(0.05, seconds * factor())
        if conn is None:
            time.sleep(step)
        elif select.select([conn], [], [], step)[0] and not conn.recv(1, socket.MSG_PEEK):
            raise Gone
        seconds -= step / factor()
    return until()


def run_lab(*args):
    return subprocess.run([lab, *args], stdin=subprocess.DEVNULL).returncode


def log(*words):
    print("xen:", *words, flush=True)


def release(d):
    """Its pause count came to 0 (or never was more): let it run."""
    d.busy_since = d.busy_since or time.monotonic()
    if not d.started:
        d.started = True
        threading.Thread(target=live, args=(d,), daemon=True).start()
    elif d.host():
        run_lab("_thaw", d.host())


def live(d):
    """One life of a domain, from its power-up to what on_... says."""
    if d.host():
        d.process = subprocess.Popen([lab, "_power", d.host()], stdin=subprocess.DEVNULL, start_new_session=True,
                                     stdout=open(os.path.join(os.path.dirname(dir), "hosts", d.host(), "console"), "a"), stderr=subprocess.STDOUT)
        code = d.process.wait()
        why = d.asked if d.asked == "crash" else {129: "reboot", 130: "poweroff"}.get(code, "cut")
    else:
        while not d.dying and (d.asked is None or d.paused):
            time.sleep(0.02)
        if d.asked != "crash":
            hold(T_GOING_DOWN, until=lambda: d.dying)
        why = d.asked
    with lock:
        if d.dying:
            return
        if why == "cut":  # a test took its power: nothing that Xen has a state for
            log(d.name, "lost its power")
            domains.pop(d.id, None)
            return
        d.shutdown = why
    end(d, why)


def end(d, why):
    action = d.cfg.get("on_" + why, "restart" if why == "reboot" else "destroy")
    log(d.name, "is down:", why + ",", action if d.monitored else "and nobody watches it")
    if not d.monitored or action in ("preserve", "coredump-preserve"):
        return
    if why == "reboot":
        hold(T_REBOOTING, until=lambda: d.dying)
    with lock:
        if d.dying:
            return
        d.paused += 1
    hold(T_TEARDOWN, until=lambda: d.dying)
    with lock:
        domains.pop(d.id, None)
    if action in ("restart", "rename-restart", "coredump-restart"):
        hold(T_NO_DOMAIN)
        with lock:
            if any(o.name == d.name for o in domains.values()):
                return
            again = Domain(dict(d.cfg, uuid=d.uuid))
            again.name = d.name
            domains[again.id] = again
        build(again, None, skip_name=True)
        finish(again, False)


def memory_left():
    return TOTAL_MEMORY - DOM0_MEMORY - 19 - sum(d.mem for d in domains.values())


def build(d, conn, skip_name=False):
    dies = lambda: d.dying
    if not skip_name:
        hold(T_NONAME, conn, dies)
        d.name = d.cfg["name"]
    if hold(T_BUILD, conn, dies):
        return "destroyed"
    d.mem = d.cfg["memory"]
    if hold(T_MEM, conn, dies):
        return "destroyed"
    d.vcpus = d.cfg["vcpus"]
    if hold(T_DEVICES, conn, dies):
        return "destroyed"


def finish(d, paused):
    """False: somebody had unpaused it before it was built, and it ran into nothing."""
    with lock:
        d.monitored = True
        if not d.paused and not d.dying:
            d.shutdown = "crash"
            threading.Thread(target=end, args=(d, "crash"), daemon=True).start()
            return False
        if not paused and not d.dying:
            d.paused -= 1
            if not d.paused:
                release(d)
        return True


def create(q, conn):
    cfg = q["cfg"]
    with lock:
        d = Domain(cfg)
        if any(o.real_name == cfg["name"] for o in domains.values()):
            return {"error": "exists", "id": d.id}
        domains[d.id] = d

    def fail(error):
        with lock:
            domains.pop(d.id, None)
        return {"error": error, "id": d.id}
    try:
        if not q["kernel_there"]:
            return fail("kernel")
        if cfg["memory"] > memory_left():
            d.name = cfg["name"]
            hold(T_NO_MEMORY, conn)
            return fail("memory")
        if build(d, conn):
            return fail("destroyed")
        if q["bridge_missing"]:
            hold(T_NO_BRIDGE - T_BUILD - T_DEVICES, conn)
            return fail("bridge")
    except Gone:
        log(cfg["name"], "was being built by an xl that was killed: it stays as it is")
        return {}
    return {"id": d.id} if finish(d, q["paused"]) else {"id": d.id, "was_unpaused": True}


def destroy(d):
    with lock:
        d.dying, d.paused, d.shutdown = True, d.paused + 1, None
    if d.host() and d.started:
        run_lab("power-cut", d.host())
    hold(T_DYING)
    with lock:
        domains.pop(d.id, None)


def tell(d, what, conn):
    """`xl shutdown`, `reboot` and `sysrq` go to the guest's kernel, which may be late, deaf, or not running."""
    if what == "crash":
        if d.shutdown or not d.started:
            return {}
        d.asked = "crash"
        if d.host():
            run_lab("power-cut", d.host())
        return {}
    is_silent = lambda: d.shutdown or d.paused or not d.vcpus or d.hung
    if is_silent():
        if not d.shutdown and d.mem and not d.hung:
            d.asked = what  # it will find this when it runs
        hold(T_NO_NOTICE, conn, lambda: not is_silent())
        return {"error": "no notice"} if is_silent() else {}
    if d.deaf:
        d.deaf -= 1
        return {}
    d.asked = what
    if d.host():
        def signal_it():  # RTMIN+4 is poweroff, RTMIN+5 reboot; while it boots there is no systemd to hear it yet
            for _ in range(100):
                if d.shutdown or d.dying or run_lab("_signal", d.host(), "RTMIN+4" if what == "poweroff" else "RTMIN+5") == 0:
                    return
                time.sleep(0.1)
        threading.Thread(target=signal_it, daemon=True).start()
    return {}


def answer(q, conn):
    op = q["op"]
    if op == "create":
        return create(q, conn)
    with lock:
        if op == "list":
            up = time.monotonic() - started
            dom0 = {"id": 0, "name": "Domain-0", "mem": DOM0_MEMORY, "vcpus": 1, "state": "r-----", "time": 20 + up / 2, "uptime": int(up),
                    "uuid": "00000000-0000-0000-0000-000000000000", "cfg": None}
            return {"domains": [dom0] + [d.row() for d in domains.values()], "total": TOTAL_MEMORY, "free": memory_left()}
        d = domains.get(q["id"])
        if d is None:
            return {"error": "absent"}
        if op == "pause":
            d.paused += 1
            if d.paused == 1 and d.host() and d.started:
                run_lab("_freeze", d.host())
            return {}
        if op == "unpause":
            if not d.paused:
                return {"error": "not paused"}
            d.paused -= 1
            if not d.paused and not d.shutdown and d.vcpus:
                release(d)
            return {}
    if op == "destroy":
        destroy(d)
        return {}
    if op == "tell":
        return tell(d, q["what"], conn)
    if op == "wait":  # until it is down
        while d.id in domains and not d.shutdown:
            hold(0.5 / factor() * 0.1, conn)
        return {"reason": {"reboot": 1, "crash": 3}.get(d.shutdown, 0), "gone": d.shutdown is None}
    return {"error": "no such operation"}


def serve(conn):
    with conn:
        try:
            for line in conn.makefile():
                reply = answer(json.loads(line), conn)
                conn.sendall((json.dumps(reply) + "\n").encode())
        except (Gone, OSError):
            pass


def power_off(*_):
    """dom0's machine lost its power, and this is part of it."""
    for d in list(domains.values()):
        d.dying = True
        if d.host() and d.started:
            run_lab("power-cut", d.host())
    os._exit(0)


args = argparse.ArgumentParser()
args.add_argument("--dir", required=True)
args.add_argument("--lab")
args = args.parse_args()
dir, lab = os.path.abspath(args.dir), args.lab
path = os.path.join(dir, "dev", "privcmd")
os.makedirs(os.path.dirname(path), exist_ok=True)
if os.path.exists(path):
    os.unlink(path)
signal.signal(signal.SIGTERM, power_off)
server = socket.socket(socket.AF_UNIX)
os.umask(0o177)  # only root talks to Xen
server.bind(path)
os.umask(0o022)
server.listen(64)
log("up")
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
