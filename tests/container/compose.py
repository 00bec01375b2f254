# SPDX-License-Identifier: Apache-2.0
"""The services of docker-compose.yml as podman runs them: with their own command, environment, volumes and limits."""

import yaml

from engine import IMAGE, SOURCE, STORE_IMAGE, fail

# What compose itself does with a service, and podman need not know.
ORDER = {"build", "image", "command", "depends_on", "healthcheck", "profiles", "restart", "stop_grace_period"}


def everything():
    """{name: service}"""
    return yaml.safe_load((SOURCE / "docker-compose.yml").read_text())["services"]


def services():
    """{name: service}, the broker's left out."""
    return {name: service for name, service in everything().items() if service["image"] == "backstep"}


def broker_properties():
    """What the broker's image makes of its environment, save where the data is and what is Java's: lines of a server.properties."""
    prefix, not_properties = "KAFKA_", ("KAFKA_LOG_DIRS", "KAFKA_JVM_PERFORMANCE_OPTS")
    return [f"{key.removeprefix(prefix).lower().replace('_', '.')}={value}"
            for key, value in everything()["kafka"]["environment"].items()
            if key.startswith(prefix) and key not in not_properties]


def broker_address():
    """Where the services look for the broker: (host, port)."""
    addresses = {service["environment"]["BACKSTEP_BROKERS"] for service in services().values()}
    if len(addresses) != 1:
        fail(f"docker-compose.yml: the services disagree about the broker: {addresses}")
    host, port = addresses.pop().split(":")
    return host, int(port)


def volume(text):
    """A path is taken from where the file is; another name is a volume's."""
    source, _, rest = text.partition(":")
    return f"{SOURCE / source}:{rest}" if source.startswith((".", "/")) else text


# How podman is told each of the rest. A key that is not here is a key that no test has seen.
OPTIONS = {
    "environment": lambda value: [f"--env={key}={text}" for key, text in value.items()],
    "read_only": lambda value: [f"--read-only={str(value).lower()}"],
    "tmpfs": lambda value: [f"--tmpfs={path}" for path in value],
    "cap_drop": lambda value: [f"--cap-drop={name}" for name in value],
    "security_opt": lambda value: [f"--security-opt={text.removesuffix(':true')}" for text in value],
    "volumes": lambda value: [f"--volume={volume(text)}" for text in value],
    "hostname": lambda value: [f"--hostname={value}"],
}


def arguments(service):
    """What `podman run` is given to start this service on our loopback."""
    host, _ = broker_address()
    words = ["--network=host", "--read-only-tmpfs=false", f"--add-host={host}:127.0.0.1", "--add-host=store:127.0.0.1"]
    for key, value in service.items():
        if key in OPTIONS:
            words += OPTIONS[key](value)
        elif key not in ORDER:
            fail(f"docker-compose.yml: '{key}' is new to tests/container/compose.py")
    return [*words, STORE_IMAGE if service["image"] == "backstep-store" else IMAGE, *service["command"]]
