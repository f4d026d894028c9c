"""Tries to get past the sandbox; says of each way whether it is open or shut. Run inside a task, and outside as a control."""
import ctypes, os, socket, struct, subprocess

facts = dict(word.split("=", 1) for word in os.environ["PROBE"].split())
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attempt(name, way):
    try:
        open_ = bool(way())
    except (OSError, subprocess.SubprocessError):
        open_ = False
    print(f"{name}: {'open' if open_ else 'shut'}", flush=True)


def call(*arguments):
    return libc.syscall(*[ctypes.c_long(a) for a in arguments]) >= 0


def tcp(port):
    with socket.create_connection(("127.0.0.1", port), 2) as s:
        return s.recv(5) == b"hello"


def fast_open():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # It connects before it answers; afterwards the other end may be gone already, with what was not read.
    return s.sendto(b"x", 0x20000000, ("127.0.0.1", int(facts["tcp"]))) == 1


def multipath():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    s.settimeout(2)
    s.connect(("127.0.0.1", int(facts["tcp"])))
    return s.recv(5) == b"hello"


def udp(message):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.sendto(message, ("127.0.0.1", int(facts["udp"])))
    return s.recv(100) == message


QUERY = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\x07example\x03com\x00" + struct.pack(">2H", 1, 1)


def local(address):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(2)
    s.connect(address)
    return s.recv(5) == b"hello"


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path):
    with open(path, "a") as f:
        f.write("x")
    return True


victim = int(facts["victim"])
attempt("direct TCP", lambda: tcp(int(facts["tcp"])))
attempt("TCP with data in its first packet", fast_open)
attempt("multipath TCP", multipath)
attempt("UDP", lambda: udp(b"ping"))
attempt("a DNS query", lambda: udp(QUERY))
attempt("an abstract socket", lambda: local("\0" + facts["abstract"]))
attempt("a socket in a temporary folder", lambda: local(facts["elsewhere"] + "/socket"))
attempt("writing outside", lambda: write(facts["elsewhere"] + "/file"))
attempt("reading CODA_HOME", lambda: read(facts["home"] + "/coda.db"))
attempt("reading another task's files", lambda: read(facts["home"] + "/tasks/other/io/prompt.txt"))
attempt("forging a file of the approvals", lambda: write(facts["home"] + "/approvals.json"))
attempt("editing the policies", lambda: write(facts["home"] + "/policies/policies.toml"))
attempt("seeing that CODA_HOME holds a file", lambda: os.stat(facts["home"] + "/coda.db"))
attempt("signalling a process of the host", lambda: os.kill(victim, 0) is None)
attempt("reading its environment", lambda: b"VICTIM" in read(f"/proc/{victim}/environ"))
attempt("reading its command line", lambda: b"86399" in read(f"/proc/{victim}/cmdline"))
attempt("reading its memory map", lambda: read(f"/proc/{victim}/maps"))
attempt("a user namespace", lambda: subprocess.run(["unshare", "-U", "true"], stderr=subprocess.DEVNULL).returncode == 0)
attempt("keys of the kernel", lambda: call(250, 0, -3 & 0xFFFFFFFFFFFFFFFF, 1) if os.uname().machine == "x86_64" else call(219, 0, -3, 1))
attempt("io_uring", lambda: call(425, 1, ctypes.addressof(ctypes.create_string_buffer(120))))
attempt("tracing a process", lambda: libc.ptrace(16, victim, 0, 0) == 0)
print("finished", flush=True)
