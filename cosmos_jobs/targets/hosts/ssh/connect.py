"""Opening an SSH connection: the user's config, hops, host keys, and what asyncssh leaves out."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.hosts.ssh import host_keys

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHClientConnectionOptions, SSHKey

CONNECT_TIMEOUT_S = 20
# A silent connection is given up before a script that waits for an answer is (60 s).
KEEPALIVE_S = 10
KEEPALIVE_COUNT = 3
# 1.5 times the rate of the default, chacha20-poly1305.
_FAST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_MAX_HOPS = 8


@dataclass(frozen=True, slots=True)
class Address:
    """Where to go: `[user@]host[:port]`; what is empty or 0 the config says."""

    host: str
    user: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Hop:
    """A server on the way, or the host itself, with all that its section of the config says."""

    name: str
    entry: str
    arguments: dict[str, Any]
    known: host_keys.Known
    user_file: Path
    timeout_s: float


def parse(text: str) -> Address:
    """Return the parts of `[user@]host[:port]`; an IPv6 address with a port is in brackets."""
    user, _, rest = text.rpartition("@")
    host, port = rest, ""
    if rest.startswith("[") and "]" in rest:
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if not host or "[" in host or (port and not port.isdigit()):
        raise HostError(f"{text} is no host", hint="write [user@]host[:port]")
    return Address(host, user, int(port or 0))


async def route(address: Address) -> tuple[Hop, ...]:
    """Return the ways to a host: its jump hosts, the first of them first, and itself."""
    hops: list[Hop] = []
    todo = [address]
    while todo:
        if len(hops) == _MAX_HOPS:
            raise HostError(f"{address.host} has more than {_MAX_HOPS} jump hosts: a loop?")
        options = await _options(todo[-1])
        jumps = options.tunnel
        # As ssh does: of several jump hosts only the first asks the config for its own.
        given = [parse(each.strip()) for each in str(jumps).split(",")] if jumps else []
        hops.insert(0, _hop(todo.pop(), options))
        for each in reversed(given[1:]):
            hops.insert(0, _hop(each, await _options(each)))
        todo = given[:1]
    return tuple(hops)


async def _options(address: Address) -> SSHClientConnectionOptions:
    import asyncssh

    try:
        options: SSHClientConnectionOptions = await asyncssh.SSHClientConnectionOptions.construct(
            config=(), host=address.host, client_keys=None, **_given(address)
        )
    except (ValueError, OSError) as error:
        raise HostError(f"~/.ssh/config: {error}") from error
    return options


def _given(address: Address) -> dict[str, Any]:
    """Return what is not left to the config: an empty value would count as one."""
    pairs = {"username": address.user, "port": address.port}
    return {name: value for name, value in pairs.items() if value}


def _hop(address: Address, options: SSHClientConnectionOptions) -> Hop:
    setting = options.config.get
    timeout_s = float(options.connect_timeout or CONNECT_TIMEOUT_S)
    user = host_keys.user_files(setting("UserKnownHostsFile"))
    known = host_keys.lookup(
        [*user, *host_keys.global_files(setting("GlobalKnownHostsFile"))],
        options.host_key_alias or options.host,
        options.port,
    )
    arguments: dict[str, Any] = {
        "host": address.host,
        **_given(address),
        "connect_timeout": timeout_s,
        "login_timeout": max(timeout_s, CONNECT_TIMEOUT_S),
        # OpenSSH compresses only when told to; asyncssh offers it.
        **({} if setting("Compression") else {"compression_algs": None}),
        **({} if setting("Ciphers") else {"encryption_algs": _ciphers()}),
        **_keepalive(setting),
        **_keys(setting("IdentityFile")),
        **({} if setting("HostKeyAlgorithms") else _host_key_kinds(known)),
    }
    return Hop(
        address.host,
        host_keys.pattern(options.host_key_alias or options.host, options.port),
        arguments,
        known,
        user[0] if user else host_keys.user_files(None)[0],
        timeout_s,
    )


def _ciphers() -> str:
    """Return the ciphers in our order: fast ones, then the rest of asyncssh's."""
    return "^" + ",".join(_FAST)


def _host_key_kinds(known: host_keys.Known) -> dict[str, Any]:
    """Ask for a key of a known kind first, but see one of another kind too.

    asyncssh asks for known kinds only, and a server that has none of them
    hangs up without a word.
    """
    from asyncssh.public_key import get_default_public_key_algs

    if known.authorities:
        return {}
    kinds = [kind for key in known.keys for kind in key.sig_algorithms]
    names = [kind.decode() for kind in [*kinds, *get_default_public_key_algs()]]
    return {"server_host_key_algs": list(dict.fromkeys(names))}


def _keepalive(setting: Callable[[str], object]) -> dict[str, Any]:
    ours = {
        "keepalive_interval": ("ServerAliveInterval", KEEPALIVE_S),
        "keepalive_count_max": ("ServerAliveCountMax", KEEPALIVE_COUNT),
    }
    return {name: value for name, (key, value) in ours.items() if setting(key) is None}


def _keys(files: object) -> dict[str, Any]:
    """Leave out key files that do not exist, as ssh does; asyncssh would give up."""
    if not isinstance(files, list):
        return {}
    found = [each for each in files if Path(each).expanduser().exists()]
    return {} if len(found) == len(files) else {"client_keys": found, "ignore_encrypted": True}


async def connect(hops: tuple[Hop, ...], timeout_s: float) -> list[SSHClientConnection]:
    """Open the connections, each through the one before; the last is the host's.

    Raises HostError where trying again would not help, else what is `transient`.
    """
    opened: list[SSHClientConnection] = []
    try:
        async with asyncio.timeout(timeout_s):
            for hop in hops:
                opened.append(await _connect(hop, opened[-1] if opened else None))
    except BaseException:
        close(opened)
        raise
    return opened


def close(connections: list[SSHClientConnection]) -> None:
    """Close the host's connection and then those that carry it."""
    for each in reversed(connections):
        each.abort()


async def _connect(hop: Hop, tunnel: SSHClientConnection | None) -> SSHClientConnection:
    import asyncssh
    from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED

    shown: list[SSHKey] = []

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: SSHKey) -> bool:
            shown.append(key)
            return False

    known = hop.known
    try:
        return await asyncssh.connect(
            **hop.arguments,
            tunnel=tunnel,
            client_factory=Client,
            known_hosts=lambda *_: (known.keys, known.authorities, known.revoked),
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise host_keys.refusal(hop.name, hop.entry, shown[0] if shown else None, known) from error
    except asyncssh.KeyExchangeFailed as error:
        raise HostError(f"{hop.name} and we have no algorithm in common: {error}") from error
    except asyncssh.PermissionDenied as error:
        raise _denied(hop, str(error)) from error
    except asyncssh.ProtocolError as error:
        if "authentication failures" in str(error):
            raise _denied(hop, str(error)) from error
        raise
    except asyncssh.ChannelOpenError as error:
        if error.code == OPEN_ADMINISTRATIVELY_PROHIBITED:
            raise HostError(f"no way on to {hop.name}: {error.reason}") from error
        raise
    except ValueError as error:
        raise HostError(f"{hop.name}: {error}", hint="look into ~/.ssh/config") from error


def _denied(hop: Hop, words: str) -> HostError:
    return HostError(
        f"{hop.name} does not let us in: {words}",
        hint=f"ssh {hop.name} tells more; ssh-add -l lists the agent's keys",
    )


async def fetch_key(hop: Hop, tunnel: SSHClientConnection | None) -> SSHKey | None:
    """Return the host key that a server shows, without a check and without logging in."""
    import asyncssh

    names = ("host", "port", "server_host_key_algs")
    given = {name: hop.arguments[name] for name in names if name in hop.arguments}
    async with asyncio.timeout(hop.timeout_s):
        return await asyncssh.get_server_host_key(**given, tunnel=tunnel)


async def accept(hops: tuple[Hop, ...]) -> tuple[str, ...]:
    """Append the host keys that are not known to known_hosts; return their descriptions.

    Raises HostError for one that is not the known one.
    """
    opened: list[SSHClientConnection] = []
    accepted = []
    try:
        for position, hop in enumerate(hops):
            tunnel = opened[-1] if opened else None
            key = await fetch_key(hop, tunnel)
            known = hop.known
            if key is None or (known.keys and key not in known.keys) or key in known.revoked:
                # Several kinds of key: the server may also have the one that is known.
                opened.append(await _connect(hop, tunnel))
                continue
            if not known.keys and not known.authorities:
                host_keys.remember(hop.user_file, hop.entry, key)
                accepted.append(f"{hop.name} {host_keys.describe(key)}")
                known = replace(known, keys=(key,))
            if position < len(hops) - 1:
                opened.append(await _connect(replace(hop, known=known), tunnel))
    finally:
        close(opened)
    return tuple(accepted)


def unknown_name(error: BaseException) -> bool:
    """Return whether an error says that there is no machine of this name."""
    names = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
    return isinstance(error, socket.gaierror) and error.errno in names


def transient(error: Exception) -> bool:
    """Return whether an error of a connection may pass by itself."""
    import asyncssh

    return isinstance(error, (OSError, TimeoutError, asyncssh.Error))


def words(error: Exception) -> str:
    """Return an error of the network in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).lower() or type(error).__name__
