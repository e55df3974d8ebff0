"""What keeps the code of others from doing harm: limits, system calls, files, and where the kernel cannot, Python.

- **limits** (`setrlimit`): address space, processor time, size of a file, open files, no core dumps.
- **landlock**: only the interpreter's own installation, the system's libraries and the working directory can be read,
  only the working directory written.
- **seccomp** (through libseccomp): a list of allowed system calls. No sockets, no other process, no signals to others,
  no change of owners or permissions.
- **namespace**: an empty network, where seccomp is not there and the kernel allows it.
- **python**: an audit hook that refuses sockets, processes, signals and files elsewhere. It stops what a model writes
  by accident or habit; a determined program can get around it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Sequence
from typing import Any

KERNEL = ("landlock", "seccomp", "namespace")
"""Layers of the kernel, in the order in which they are tried."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")

# One line a subject: reading and writing, files, memory, threads, time, signals to oneself, facts about oneself.
_ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev lseek _llseek close close_range dup dup2 dup3 fcntl fcntl64
ioctl pipe pipe2 poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 flock fsync
open openat openat2 creat stat lstat fstat fstat64 newfstatat statx statfs fstatfs access faccessat faccessat2
getdents getdents64 readlink readlinkat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate ftruncate
getcwd chdir fchdir umask fdatasync
mmap mmap2 munmap mremap mprotect madvise brk mincore msync memfd_create membarrier get_mempolicy
clone futex set_robust_list get_robust_list rseq set_tid_address sched_yield sched_getaffinity gettid arch_prctl
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times setitimer getitimer alarm pause
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack restart_syscall
getpid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getgroups getrlimit getrusage sysinfo uname
getrandom getcpu exit exit_group
"""

_REFUSED_EVENTS = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.kill",
    "os.chmod",
    "os.chown",
    "ctypes.",
    "pty.",
    "signal.pthread_kill",
)
_FILE_EVENTS = (
    "open",
    "os.listdir",
    "os.scandir",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
)


def confine(*, memory: int, cpu_seconds: int, file_bytes: int, layers: Sequence[str]) -> list[str]:
    """Confine this process for good, and return the layers that are in force.

    Args:
        memory: bytes of address space.
        cpu_seconds: processor time.
        file_bytes: largest file that may be written.
        layers: which of `KERNEL` to try.
    """
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        _limit(limit, value)
    in_force = ["limits"]
    readable = [*_SYSTEM, *_DEVICES, *{os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)}]
    writable = [os.getcwd(), "/dev/null"]
    if "landlock" in layers and landlock(readable, writable):
        in_force.append("landlock")
    if "seccomp" in layers and seccomp():
        in_force.append("seccomp")
    elif "namespace" in layers and empty_network():
        in_force.append("namespace")
    if "seccomp" not in in_force:
        _limit(resource.RLIMIT_NPROC, 0)
    if "seccomp" not in in_force or "landlock" not in in_force:
        refuse_in_python(readable, writable)
        in_force.append("python")
    return in_force


def landlock(readable: Sequence[str], writable: Sequence[str]) -> bool:
    """Restrict this process to these paths and what is below them; whether the kernel does so."""
    if not sys.platform.startswith("linux"):
        return False
    abi = _LIBC.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if abi < 1:
        return False
    every = (1 << {1: 13, 2: 14}.get(abi, 15 if abi < 5 else 16)) - 1
    network = 0b11 if abi >= 4 else 0  # bind and connect
    scopes = 0b11 if abi >= 6 else 0  # abstract sockets and signals of others
    attributes = struct.pack("QQQ", every, network, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = _LIBC.syscall(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if rules < 0:
        return False
    of_files = every & 0b1100000000000111
    to_read = 0b1101  # execute (what a library is mapped with), read a file, read a directory
    for paths, access in ((readable, to_read), (writable, every)):
        for path in paths:
            if os.path.exists(path):
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
                allowed = access & every if os.path.isdir(path) else access & of_files
                _LIBC.syscall(445, rules, 1, struct.pack("=Qi", allowed, place), 0)
                os.close(place)
    _LIBC.prctl(38, 1, 0, 0, 0)  # no new privileges
    restricted = _LIBC.syscall(446, rules, 0) == 0
    os.close(rules)
    return bool(restricted)


def seccomp() -> bool:
    """Refuse every system call that is not on the list; whether libseccomp and the kernel do so."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    refuse, not_there, allow = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x7FFF0000
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(refuse)))
    if not rules:
        return False
    thread = _Comparison(0, _MASKED_EQUAL, _CLONE_THREAD, _CLONE_THREAD)
    for name in _ALLOWED.split():
        number = library.seccomp_syscall_resolve_name(name.encode())
        conditions = [thread] if name == "clone" else []
        if number != -1:
            array = (_Comparison * len(conditions))(*conditions)
            library.seccomp_rule_add_array(rules, ctypes.c_uint32(allow), number, len(conditions), array)
    # The C library starts threads by `clone` only where `clone3` does not exist.
    clone3 = library.seccomp_syscall_resolve_name(b"clone3")
    library.seccomp_rule_add_array(rules, ctypes.c_uint32(not_there), clone3, 0, None)
    return bool(library.seccomp_load(rules) == 0)


def empty_network() -> bool:
    """Move this process into a network namespace without any interface; whether the kernel allows it."""
    user, group = os.getuid(), os.getgid()
    if not sys.platform.startswith("linux") or _LIBC.unshare(0x10000000 | 0x40000000) != 0:
        return False
    for name, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(content)
        except OSError:
            continue  # without a mapping the process is nobody, which is no less confined
    return True


def refuse_in_python(readable: Sequence[str], writable: Sequence[str]) -> None:
    """Refuse sockets, processes, signals and files elsewhere by an audit hook, which nothing can take away again."""

    def below(path: Any, places: Sequence[str]) -> bool:
        full = os.path.realpath(os.fsdecode(path))
        return any(full == place or full.startswith(place.rstrip("/") + "/") for place in places)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_REFUSED_EVENTS):
            raise PermissionError(f"{event} is not allowed in the sandbox")
        if event in _FILE_EVENTS and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            reads = event in ("os.listdir", "os.scandir") or (event == "open" and not _writes(arguments))
            if not below(arguments[0], [*readable, *writable] if reads else writable):
                raise PermissionError(f"{os.fsdecode(arguments[0])} is outside of the sandbox")

    sys.addaudithook(hook)


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _limit(limit: int, value: int) -> None:
    _, hardest = resource.getrlimit(limit)
    value = value if hardest == resource.RLIM_INFINITY else min(value, hardest)
    try:
        resource.setrlimit(limit, (value, value))
    except (ValueError, OSError):
        return  # macOS knows some limits by name only


_CLONE_THREAD = 0x00010000
_MASKED_EQUAL = 7


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`: a condition on an argument of a system call."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )
