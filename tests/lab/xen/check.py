#!/usr/bin/env python3
"""check.py - is the stand-in true? Runs `xl` and hypervisor.py (no lab, no root needed) through the situations in
captures/, recorded on a real Xen 4.17, and compares exit code, stdout and stderr; then polls `xl list` during create,
shutdown, reboot and destroy and compares the states passed through with poll-during-*.log.
Only what differs from run to run is levelled: ids, times, memory of dom0, uuids, pids, the host's name.
"""
import os, re, shutil, signal, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
root = tempfile.mkdtemp(prefix="xl-check.")
env = dict(os.environ, LAB_XEN_ROOT=root)
KERNEL, INITRD = "/boot/vmlinuz-6.1.0-56-amd64", "/boot/guest-initrd.gz"


def write(path, text):
    os.makedirs(os.path.dirname(root + path), exist_ok=True)
    open(root + path, "w").write(text)


def cfg(name="vps0", kernel=KERNEL, memory=128, bridge="xenbr0", n=0, off="destroy", crash="destroy"):
    return f'''{'name = "%s"' % name if name else ''}
type = "pv"
kernel = "{kernel}"
ramdisk = "{INITRD}"
extra = "console=hvc0 quiet mitigations=off host={name} addr=10.0.2.5{n}/24"
memory = {memory}   # MB
vcpus = 1
vif = [ "bridge={bridge},mac=00:16:3e:00:00:5{n}" ]
on_poweroff = "{off}"; on_crash = '{crash}'
on_reboot = "restart"
'''


write(KERNEL, ""), write(INITRD, ""), write("/sys/class/net/xenbr0/bridge/x", "")
write("/etc/xen/vps0.cfg", cfg()), write("/etc/xen/vps1.cfg", cfg("vps1", n=1))
write("/root/nokernel.cfg", cfg(kernel="/boot/nosuch")), write("/root/nobridge.cfg", cfg(bridge="nobr"))
write("/root/toobig.cfg", cfg(memory=99999)), write("/root/broken.cfg", 'name = "vps0\n'), write("/root/noname.cfg", cfg(name=None))
bare = lambda kernel, off: f'''name = "vps0"
type = "pv"
kernel = "/boot/{kernel}"
ramdisk = "/boot/tiny"
extra = "console=hvc0 quiet mitigations=off sysrq_always_enabled"
memory = 96
vcpus = 1
on_poweroff = "{off}"
on_crash = "preserve"
'''
write("/boot/vmlinux", ""), write("/boot/vmlinuz", ""), write("/boot/tiny", "")
write("/root/quick.cfg", bare("vmlinux", "preserve")), write("/root/slow.cfg", bare("vmlinuz", "destroy"))
write("/root/badaction.cfg", bare("vmlinux", "nosuch").replace('"preserve"', '"nosuch"'))
write("/root/preserve.cfg", cfg(off="preserve", crash="preserve")), write("/root/crash.cfg", cfg(crash="preserve"))
write("/xen/guests", "")
hypervisor = subprocess.Popen([sys.executable, HERE + "/hypervisor.py", "--dir", root + "/xen"], stdout=subprocess.DEVNULL)
os.makedirs(root + "/dev")
os.symlink("../xen/dev", root + "/dev/xen")
passed, failed = 0, 0


def speed(f):
    write("/xen/speed.new", str(f))
    os.rename(root + "/xen/speed.new", root + "/xen/speed")


def xl(command, **kw):
    argv = command.split()
    if argv[-1] == "3":  # the id that vps0 had then
        argv[-1] = subprocess.run([sys.executable, HERE + "/xl", "domid", "vps0"], env=env, capture_output=True, text=True).stdout.strip()
    return subprocess.run([sys.executable, HERE + "/xl"] + argv[1:], env=kw.pop("env", env), capture_output=True, text=True, timeout=60, **kw)


def width(m):
    return "#".rjust(len(m.group(0)))


def level_out(text):
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda m: m[0] if set(m[0]) <= set("0-") else "UUID".ljust(36), text)
    lines = []
    for line in text.split("\n"):
        if re.fullmatch(r"\d+", line):
            line = "#"
        if re.match(r"(host|total_memory|free_memory) +:", line) or re.match(r" *\"(domid|max_memkb|target_memkb)\":", line):
            line = re.sub(r"(: ).*?(,?)$", r"\1#\2", line) if "128" not in line and "131072" not in line else line
        elif re.match(r"(Domain-0|vps\d|\(null\)) +\d", line):  # a row: ids, times and dom0's figures, right-aligned
            name, rest = line[:32], line[32:]
            n = iter(range(9))
            keep = {1, 2} if not line.startswith("Domain-0") else set()  # a guest's memory and vcpus must be right
            numbers = r" *\d+(\.\d+|:\d\d:\d\d)?(?![-\w])"
            listing = re.search(r" [-r][-b][-p][-s][-a-z][-d] ", rest)
            rest = re.sub(numbers, lambda m: m[0] if listing and next(n) in keep else width(m), rest)
            line = name + rest
        lines.append(line)
    return "\n".join(lines).rstrip("\n")


def level_err(text):
    return re.sub(r"((?:[Dd]omain) )\d+", r"\1#", re.sub(r"line \[\d+\]|\[\d+\]", "[#]", text)).rstrip("\n").replace("\0", "?")


def note(ok, name, why=""):
    global passed, failed
    passed, failed = passed + ok, failed + (not ok)
    if not ok:
        print(f"FAIL {name}\n{why}")


def compare(name, got, only=None):
    text = open(f"{HERE}/captures/{name}.txt").read()
    for part in re.split(r"(?m)^(?=command: )", text)[1:] if name.startswith("90") else [text]:
        want_exit = int(re.search(r"(?m)^exit: (\d+)", part)[1])
        out, err = re.split(r"(?m)^--- stderr\n?", part.split("--- stdout\n", 1)[1] if "--- stdout\n" in part else part, maxsplit=1)
        if only:
            keep = lambda t: "\n".join(l for l in t.split("\n") if only(l))
            out, got.stdout = keep(out), keep(got.stdout)
        a, b = (want_exit, level_out(out), level_err(err)), (got.returncode, level_out(got.stdout), level_err(got.stderr))
        why = "\n".join(f"  {what}\n    recorded: {x!r}\n    stand-in: {y!r}" for what, x, y in zip(("exit", "stdout", "stderr"), a, b) if x != y)
        note(a == b, name, why)


def command(name):
    return re.search(r"(?m)^command: (.*)", open(f"{HERE}/captures/{name}.txt").read())[1]


def names(first, last):
    numbered = {int(f.split("-")[0]): f[:-4] for f in os.listdir(HERE + "/captures") if re.match(r"\d+-", f)}
    return [numbered[n] for n in sorted(numbered) if first <= n <= last]


def settle(state=None, name="vps0"):
    """until `name` shows that state; None: until it is gone"""
    for _ in range(300):
        row = [l for l in xl("xl list").stdout.split("\n") if l.startswith(name + " ")]
        if (state in row[0] if row and state else not row and not state):
            return
        time.sleep(0.05)
    print(f"({name} never came to {state or 'its end'})")


def begin(path):
    """an `xl create` that is at its longest step"""
    p = subprocess.Popen([sys.executable, HERE + "/xl", "create", path], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if re.search(r"(?m)^vps0 +\d+ +0 +0 ", xl("xl list").stdout):
            break
        time.sleep(0.02)
    return p


def ended(name, p):
    out, err = p.communicate()
    compare(name, subprocess.CompletedProcess(p.args, p.returncode, out, err))


def replay(first, last, before={}):
    for name in names(first, last):
        before.get(int(name.split("-")[0]), lambda: None)()
        compare(name, xl(command(name)))


def sequence(lines):
    """the distinct rows of a guest in a list of polls, without its id"""
    seen = []
    for block in lines:
        row = [l for l in block.split("\n") if re.match(r"(vps0|\(null\)) ", l)]
        f = row[0].split() if row else None
        now = " ".join([f[0]] + f[2:5]) if f else "-"
        if not seen or seen[-1] != now:
            seen.append(now)
    return seen


def poll(verb, then, stop):
    want = sequence(re.split(r"(?m)^rc=\d+\n", open(f"{HERE}/captures/poll-during-{verb}.log").read())[:-1])
    action = threading.Thread(target=lambda: (time.sleep(0.3), xl(then)))
    action.start()
    blocks, end = [], time.time() + 30
    while time.time() < end:
        blocks.append(xl("xl list").stdout)
        got = sequence(blocks)
        if len(got) >= len(want) or stop(got):
            break
        time.sleep(0.02)
    action.join()
    note(got == want, f"states during {verb}", f"    recorded: {want}\n    stand-in: {got}")


try:
    while not os.path.exists(root + "/xen/dev/privcmd"):
        time.sleep(0.02)
    speed(0.05)
    replay(1, 13)
    speed(0.1)
    replay(14, 38, {15: lambda: settle("-b----")})
    speed(0.05)
    replay(39, 43, {40: settle})
    settle("-b----")
    replay(44, 44)
    speed(0.02)
    time.sleep(0.3)
    settle("-b----")
    replay(45, 48)
    replay(49, 58)
    speed(0.3)  # so that vps1 still boots when it is listed
    xl("xl destroy vps1"), settle("-b----"), compare("58-create-two-b", xl("xl create /etc/xen/vps1.cfg"))
    replay(59, 61)
    compare("62-list-after-shutdown-all", xl("xl list"), lambda l: not l.startswith("vps1"))
    replay(63, 63)
    speed(0.05)
    settle()
    replay(64, 69)
    settle("-b----")
    replay(72, 73)  # 70 and 71: a guest that ignores sysrq; ours obey
    xl("xl create /etc/xen/vps0.cfg")
    settle("-b----")
    replay(83, 83)
    xl("xl destroy vps0")
    replay(84, 87, {85: lambda: settle("-b----")})
    if os.getuid() == 0:
        os.chmod(root, 0o755)
        shutil.copy(HERE + "/xl", root + "/xl")
        compare("74-not-root", subprocess.run("setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3".split() + [root + "/xl", "list"],
                                              env=env, cwd="/", capture_output=True, text=True))
    else:
        os.chmod(root + "/xen/dev/privcmd", 0)
        compare("74-not-root", xl("xl list"))
        os.chmod(root + "/xen/dev/privcmd", 0o600)
    replay(75, 79)
    nowhere = dict(env, LAB_XEN_ROOT="/nonexistent")
    compare("90-not-under-xen", xl("xl list", env=nowhere))
    compare("90-not-under-xen", xl("xl create /etc/xen/vps0.cfg", env=nowhere))

    # what the captures tell without a file of their own: an id is used up by a create that fails
    speed(0.3)
    poll("create", "xl create /etc/xen/vps0.cfg", lambda got: False)
    poll("shutdown", "xl shutdown vps0", lambda got: got[-1] == "-")
    speed(0.05)
    settle()
    xl("xl create /etc/xen/vps0.cfg")
    speed(0.3)
    settle("-b----")
    poll("reboot", "xl reboot vps0", lambda got: False)
    settle("-b----")
    poll("destroy", "xl destroy vps0", lambda got: got[-1] == "-")
    # a killed xl leaves what it had built
    speed(0.1)
    p = subprocess.Popen([sys.executable, HERE + "/xl", "create", "/etc/xen/vps0.cfg"], env=env, stderr=subprocess.DEVNULL)
    time.sleep(0.6)
    p.kill(), p.wait()
    time.sleep(2.5)
    row = xl("xl list vps0").stdout.split("\n")[1].split()
    note(row[2:5] == ["0", "0", "--p---"], "half built, xl killed", f"    {row}")
    xl("xl destroy vps0")

    # what was recorded later (tests/lab/real-xen): errors, and what somebody does at the wrong moment
    speed(0.05)
    replay(91, 123)
    replay(124, 124)
    settle("-b----")
    replay(125, 126)
    xl("xl pause vps0")
    speed(0.02)  # a minute that nobody answers
    replay(127, 129)
    settle("---s--")
    replay(130, 140)
    speed(0.1)
    half = begin("/root/slow.cfg")
    half.kill(), half.communicate()
    speed(0.02)
    replay(141, 150)
    speed(0.1)
    whole = begin("/root/slow.cfg")
    replay(151, 151)
    ended("152-create-destroyed-meanwhile", whole)
    replay(153, 153)
    whole = begin("/root/slow.cfg")
    replay(154, 155)
    ended("156-create-unpaused-meanwhile", whole)
    compare("157-list-then", xl("xl list"))
    xl("xl destroy vps0")
    whole = begin("/root/slow.cfg")
    replay(158, 158)
    whole.communicate()
finally:
    hypervisor.send_signal(signal.SIGTERM)
    hypervisor.wait()
    subprocess.run(["rm", "-rf", root])
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
